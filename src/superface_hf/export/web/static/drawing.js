/** Draws frames with WebGL2: samples the person along the student's flow, paints, and composites them over the background. */

const VERTEX = `#version 300 es
const vec2 corners[3] = vec2[](vec2(-1, -1), vec2(3, -1), vec2(-1, 3));
void main() { gl_Position = vec4(corners[gl_VertexID], 0, 1); }`;

// All places are pixels of the picture: x to the right, y down. One program draws the picture, by the flow of the stage, and then
// another one the window: one program for both would sample everything everywhere.
const COMMON = `#version 300 es
precision highp float;
precision highp sampler2D;
uniform sampler2D person, plate, missing, flow;
uniform vec2 size;          // of the picture
uniform vec4 rect;          // the part that may show the person
uniform vec3 square;        // corner and side of the stage, or of the window
uniform vec3 texel;         // where the person's texture begins, and how many of its texels a pixel has
uniform bool transparent;
out vec4 colour;

vec4 own(vec2 place) {
  return texture(person, (texel.z * (place - texel.xy - 0.5) + 0.5) / vec2(textureSize(person, 0)));
}

void finish(vec2 pixel, vec4 person, vec2 away) {
  if (transparent) {
    colour = vec4(person.rgb * person.a, person.a);
    return;
  }
  vec3 seen = mix(texelFetch(plate, ivec2(pixel), 0).rgb, person.rgb, person.a);
  // The error of the layers at rest is added where nothing moves, so that the picture at rest is exact.
  float still = 1.0 - clamp((max(abs(away.x), abs(away.y)) - 0.1) / 0.9, 0.0, 1.0);
  if (still > 0.0) seen += still * texelFetch(missing, ivec2(pixel), 0).rgb;
  colour = vec4(seen, 1);
}
`;

const PICTURE = `${COMMON}
void main() {
  vec2 pixel = vec2(gl_FragCoord.x, size.y - gl_FragCoord.y);
  if (any(lessThan(pixel, rect.xy)) || any(greaterThan(pixel, rect.zw))) {
    colour = transparent ? vec4(0) : vec4(texelFetch(plate, ivec2(pixel), 0).rgb, 1);
    return;
  }
  vec2 away = texture(flow, (pixel - square.xy) / square.z).rg;
  finish(pixel, own(pixel + away), away);
}`;

const WINDOW = `${COMMON}
uniform sampler2D paint, matte, patchFlow, patchPaint, patchMatte;
uniform float cells;        // of the window that patches lie on, along a side
uniform vec4 patches[3];    // first cell in the window, and width and height in cells
uniform float places[3];    // where each patch begins in the patches' textures, in cells

void main() {
  vec2 pixel = vec2(gl_FragCoord.x, size.y - gl_FragCoord.y);
  if (any(lessThan(pixel, rect.xy)) || any(greaterThan(pixel, rect.zw))) discard;
  vec2 inside = (pixel - square.xy) / square.z;
  vec2 cell = inside * cells, sheet = vec2(textureSize(patchFlow, 0)), away;
  vec4 brush;
  float change;
  int on = -1;
  for (int i = 0; i < 3; i++) {
    vec2 there = cell - patches[i].xy;
    if (all(greaterThanEqual(there, vec2(0))) && all(lessThanEqual(there, patches[i].zw))) on = i;
  }
  if (on < 0) {
    away = texture(flow, inside).rg;
    brush = texture(paint, inside);
    change = texture(matte, inside).r;
  } else {
    // Beside a patch lies another one, or nothing: sampling stays half a texel inside.
    vec2 there = cell - patches[on].xy, first = vec2(places[on], 0), extent = patches[on].zw;
    float rim = 0.5 * sheet.x / float(textureSize(patchPaint, 0).x);
    vec2 finer = (first + clamp(there, vec2(rim), extent - rim)) / sheet;
    away = texture(patchFlow, (first + clamp(there, vec2(0.5), extent - 0.5)) / sheet).rg;
    brush = texture(patchPaint, finer);
    change = texture(patchMatte, finer).r;
  }
  vec4 person = own(pixel + away);
  finish(pixel, clamp(vec4(brush.r * person.rgb + brush.gba, person.a + change), 0.0, 1.0), away);
}`;

const MAPS = ["stage", "flow", "paint", "matte"];
// The texture that a program calls "flow".
const FLOWS = { picture: "stage", window: "flow" };

export class Drawing {
  /** @param {HTMLCanvasElement | OffscreenCanvas} canvas gets the picture's size. */
  constructor(canvas, manifest, { transparent = false } = {}) {
    canvas.width = manifest.picture.width;
    canvas.height = manifest.picture.height;
    // The drawing buffer is kept, so that the page can read or record the picture.
    const gl = canvas.getContext("webgl2", { antialias: false, alpha: transparent, preserveDrawingBuffer: true });
    if (!gl) throw new Error("This browser has no WebGL2, which a student is drawn with.");
    Object.assign(this, { gl, manifest, textures: {}, programs: {} });
    // In large pictures places need more than half precision.
    this.exact = gl.getExtension("OES_texture_float_linear") !== null;
    gl.bindVertexArray(gl.createVertexArray());
    for (const [name, source] of Object.entries({ picture: PICTURE, window: WINDOW })) {
      this.programs[name] = { handle: this.compiled(source), uniforms: {} };
    }
    this.set("transparent", "1i", transparent ? 1 : 0);
  }

  /** The side of the largest texture. */
  get largest() {
    return this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE);
  }

  /** Uploads the layers that `loadLayers` gave. */
  use({ person, plate, missing, fineness, corner }) {
    const { gl } = this;
    const { width, height } = this.manifest.picture;
    this.upload("person", person, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, gl.LINEAR);
    this.upload("plate", plate, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, gl.NEAREST);
    this.upload("missing", { data: missing, width, height }, gl.RGBA16F, gl.RGBA, gl.FLOAT, gl.NEAREST);
    this.set("size", "2f", width, height);
    this.set("texel", "3f", ...corner, fineness);
    this.set("cells", "1f", this.manifest.image_size / 2);
  }

  /** Draws a frame from the outputs of the student's graph. */
  draw(maps) {
    const { gl, manifest } = this;
    const cells = manifest.patches.map((name) => maps[`${name}_flow`]);
    const places = cells.map((_, i) => cells.slice(0, i).reduce((sum, { width }) => sum + width, 0));
    for (const name of MAPS) this.map(name, maps[name]);
    for (const part of ["Flow", "Paint", "Matte"]) this.sheet(part, maps, cells);
    const [left, top, cell] = maps.stage_square.data;
    const [x, y, side] = maps.window.data;
    this.set("rect", "4f", ...maps.rect.data);
    this.set("square", "3f", left, top, cell * maps.stage.width, "picture");
    this.set("square", "3f", x, y, side, "window");
    cells.forEach(({ width, height }, i) => {
      this.set(`patches[${i}]`, "4f", maps.corners.data[2 * i], maps.corners.data[2 * i + 1], width, height);
      this.set(`places[${i}]`, "1f", places[i]);
    });
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.useProgram(this.programs.picture.handle);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.useProgram(this.programs.window.handle);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(x, manifest.picture.height - y - side, side, side);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.disable(gl.SCISSOR_TEST);
  }

  /** Lays the patches' maps of one kind beside each other in a texture. */
  sheet(part, maps, cells) {
    const { gl, manifest } = this;
    const parts = manifest.patches.map((name) => maps[`${name}_${part.toLowerCase()}`]);
    const finer = parts[0].width / cells[0].width;
    const width = finer * cells.reduce((sum, cell) => sum + cell.width, 0);
    const height = finer * Math.max(...cells.map((cell) => cell.height));
    const name = `patch${part}`;
    this.map(name, { data: null, width, height, channels: parts[0].channels });
    let left = 0;
    for (const one of parts) {
      const format = { 1: gl.RED, 2: gl.RG, 4: gl.RGBA }[one.channels];
      gl.texSubImage2D(gl.TEXTURE_2D, 0, left, 0, one.width, one.height, format, gl.FLOAT, one.data);
      left += one.width;
    }
  }

  map(name, map) {
    const { gl, exact } = this;
    const flow = exact ? gl.RG32F : gl.RG16F;
    const [inside, format] = { 1: [gl.R16F, gl.RED], 2: [flow, gl.RG], 4: [gl.RGBA16F, gl.RGBA] }[map.channels];
    this.upload(name, map, inside, format, gl.FLOAT, gl.LINEAR);
  }

  upload(name, { data, width, height }, inside, format, type, filter) {
    const { gl, textures } = this;
    let texture = textures[name];
    const isNew = !texture;
    if (isNew) {
      texture = textures[name] = { unit: Object.keys(textures).length, handle: gl.createTexture() };
      for (const [program, flow] of Object.entries(FLOWS)) {
        if (name === flow) this.set("flow", "1i", texture.unit, program);
      }
      if (!Object.values(FLOWS).includes(name)) this.set(name, "1i", texture.unit);
    }
    gl.activeTexture(gl.TEXTURE0 + texture.unit);
    gl.bindTexture(gl.TEXTURE_2D, texture.handle);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    if (texture.width !== width || texture.height !== height) {
      gl.texImage2D(gl.TEXTURE_2D, 0, inside, width, height, 0, format, type, data);
      Object.assign(texture, { width, height });
    } else if (data) {
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, format, type, data);
    }
    if (isNew) {
      for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, filter);
      for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    }
  }

  /** Sets a uniform of all programs that have it, or, if the last value is a program's name, of that one. */
  set(name, kind, ...values) {
    const { gl } = this;
    const only = typeof values.at(-1) === "string" ? values.pop() : null;
    for (const [program, { handle, uniforms }] of Object.entries(this.programs)) {
      if (only && program !== only) continue;
      uniforms[name] ??= { place: gl.getUniformLocation(handle, name) };
      gl.useProgram(handle);
      gl[`uniform${kind}`](uniforms[name].place, ...values);
    }
  }

  compiled(fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      const said = gl.getShaderInfoLog(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && said) throw new Error(said);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    return program;
  }

  /** Frees the textures. */
  close() {
    for (const { handle } of Object.values(this.textures)) this.gl.deleteTexture(handle);
    for (const { handle } of Object.values(this.programs)) this.gl.deleteProgram(handle);
  }
}
