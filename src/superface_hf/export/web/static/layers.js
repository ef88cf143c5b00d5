/** Reads a student's picture and its layers once, and makes the textures from which frames are drawn. */

const HALFWAY = [0.0672, -0.2261, 0.6589, 0.6589, -0.2261, 0.0672]; // as in superface_hf.layers.sampling
const BEYOND = 0.6; // how far the person continues beyond the picture's borders, in widths of the face

/** @returns the pixels (RGBA) of the files, each drawn over the ones before. */
async function pixels(width, height, ...urls) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (const url of urls) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url} cannot be loaded: ${response.status} ${response.statusText}`);
    const image = await createImageBitmap(await response.blob(), { colorSpaceConversion: "none" });
    context.drawImage(image, 0, 0);
  }
  return context.getImageData(0, 0, width, height).data;
}

/** Returns the rows and columns that show the person, and one more at each side. */
function boxOf(alpha, width, height) {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!alpha[4 * (y * width + x)]) continue;
      left = Math.min(left, x);
      right = Math.max(right, x + 1);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y + 1);
    }
  }
  return [Math.max(0, left - 1), Math.max(0, top - 1), Math.min(width, right + 1), Math.min(height, bottom + 1)];
}

/** Doubles the rows (or columns): the even ones are the picture's, the others lie halfway between two. */
function doubled({ data, width, height }, down) {
  const result = { data: new Uint8ClampedArray(2 * data.length), width, height };
  const length = down ? height : width;
  result[down ? "height" : "width"] *= 2;
  const total = HALFWAY.reduce((sum, weight) => sum + weight);
  const step = down ? 4 * width : 4;
  for (let line = 0; line < (down ? width : height); line++) {
    for (let i = 0; i < length; i++) {
      const from = down ? 4 * (i * width + line) : 4 * (line * width + i);
      const to = down ? 4 * (2 * i * width + line) : 4 * (line * 2 * width + 2 * i);
      for (let c = 0; c < 4; c++) {
        result.data[to + c] = data[from + c];
        let sum = 0;
        if (c < 3) {
          for (let k = 0; k < HALFWAY.length; k++) {
            const at = Math.min(length - 1, Math.max(0, i + k + 1 - HALFWAY.length / 2)) - i;
            sum += (HALFWAY[k] / total) * data[from + c + at * step];
          }
        } else {
          sum = (data[from + 3] + data[from + 3 + (i + 1 < length ? step : 0)]) / 2;
        }
        result.data[to + step + c] = sum;
      }
    }
  }
  return result;
}

/**
 * @returns `person`: RGBA, `fineness` texels to a pixel, the first one at `corner`; `plate`: RGBA, the picture without the
 * person; `missing`: the difference between the picture and the layers at rest, in levels of 1.
 */
export async function loadLayers(manifest, base, largest) {
  const { width, height } = manifest.picture;
  const url = (layer) => new URL(Object.keys(manifest.files).find((name) => name.startsWith(`${layer}.`)), base);
  const [picture, colours, alpha, plate] = await Promise.all([
    pixels(width, height, url("picture")),
    pixels(width, height, url("picture"), url("colours")),
    pixels(width, height, url("alpha")),
    pixels(width, height, url("picture"), url("plate")),
  ]);
  const missing = new Float32Array(4 * width * height);
  for (let i = 0; i < missing.length; i++) {
    const share = alpha[4 * (i >> 2)];
    const rest = Math.round((colours[i] * share) / 255) + Math.round((plate[i] * (255 - share)) / 255);
    missing[i] = (picture[i] - Math.min(255, rest)) / 255;
  }
  const [left, top, right, bottom] = boxOf(alpha, width, height);
  // A person who touches the picture's border continues beyond it: mirrored, as far as they reach at the border.
  const beyond = Math.round(BEYOND * manifest.face_width);
  const more = (ends, length) => (ends ? Math.min(beyond, length - 1) : 0);
  const x0 = left - more(left === 0, right - left);
  const x1 = right + more(right === width, right - left);
  const y0 = top - more(top === 0, bottom - top);
  const y1 = bottom + more(bottom === height, bottom - top);
  const within = (at, low, high) => (at < low ? 2 * low - at : at >= high ? 2 * (high - 1) - at : at);
  let person = { data: new Uint8ClampedArray(4 * (x1 - x0) * (y1 - y0)), width: x1 - x0, height: y1 - y0 };
  for (let y = y0, at = 0; y < y1; y++) {
    for (let x = x0; x < x1; x++, at += 4) {
      const from = 4 * (within(y, top, bottom) * width + within(x, left, right));
      for (let c = 0; c < 3; c++) person.data[at + c] = colours[from + c];
      const edge = [Math.min(bottom - 1, Math.max(top, y)), Math.min(right - 1, Math.max(left, x))];
      person.data[at + 3] = alpha[4 * (edge[0] * width + edge[1])];
    }
  }
  const fineness = 2 * Math.max(person.width, person.height) <= largest ? 2 : 1;
  if (fineness === 2) person = doubled(doubled(person, true), false);
  return { person, plate: { data: plate, width, height }, missing, fineness, corner: [x0, y0] };
}
