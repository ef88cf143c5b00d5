/**
 * Runs the graphs of audio-to-lip and the student with onnxruntime-web in a worker, so that the page does not wait.
 *
 * In: `load`, then for each sound `start`, `sound` (samples at 16 kHz), `want` (how many frames may be sent, and from which on)
 * and `end`. Out: `ready`, `frame`, `done`, `error`.
 */

import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { Speech } from "./hearing.js";
import { speechLevel } from "./loudness.js";

const ALIASED = 0.7; // a window smaller than this part of what is painted takes means of its pixels

let manifest, lips, student;
let stream = null; // the sound that is being said

async function load(base) {
  const fetched = async (name) => {
    const response = await fetch(new URL(name, base));
    if (!response.ok) throw new Error(`${name} cannot be loaded: ${response.status} ${response.statusText}`);
    return response;
  };
  manifest = await (await fetched("manifest.json")).json();
  // The file is stored compressed, because plain file servers do not compress.
  const packed = (await fetched("ort/ort-wasm-simd-threaded.wasm.gz")).body;
  ort.env.wasm.wasmBinary = await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  ort.env.wasm.numThreads = 1;
  const session = async (name) =>
    ort.InferenceSession.create(await (await fetched(name)).arrayBuffer(), { executionProviders: ["wasm"] });
  lips = await session("audio_to_lip.onnx");
  student = await session("student.onnx");
  const rest = new Float32Array(Math.max(...Object.values(manifest.motion).map((part) => part.columns[1])));
  rest[manifest.motion.scale.columns[0]] = 1;
  const shut = manifest.rest_mouth;
  rest.set(shut, manifest.motion.mouth.columns[0]);
  send({ type: "ready", manifest }, await outputs(rest));
}

async function hear(samples, state) {
  const found = await lips.run({
    samples: new ort.Tensor("float32", samples, [1, samples.length]),
    state: new ort.Tensor("float32", state, [1, state.length]),
  });
  return { mouth: found.mouth.data, state: found.next_state.data };
}

/** Runs the student's graph for a row; its paintings are no finer than the window needs. */
async function outputs(row) {
  const found = await student.run({ motion: new ort.Tensor("float32", row, [1, row.length]) });
  const maps = {};
  for (const [name, tensor] of Object.entries(found)) {
    const [, height = 1, width = 1, channels = 1] = tensor.dims;
    maps[name] = { data: tensor.data, height, width, channels };
  }
  let fineness = 1;
  for (let size = manifest.image_size; maps.window.data[2] < ALIASED * size && fineness < 4; size /= 2) {
    for (const patch of manifest.patches) {
      for (const part of ["paint", "matte"]) maps[`${patch}_${part}`] = halved(maps[`${patch}_${part}`]);
    }
    fineness *= 2;
  }
  return maps;
}

/** Returns the means of two by two cells. */
function halved({ data, height, width, channels }) {
  const half = { data: new Float32Array(data.length / 4), height: height / 2, width: width / 2, channels };
  const line = width * channels;
  let at = 0;
  for (let y = 0; y < height; y += 2) {
    for (let x = 0; x < width; x += 2) {
      for (let c = 0; c < channels; c++) {
        const i = y * line + x * channels + c;
        half.data[at++] = (data[i] + data[i + channels] + data[i + line] + data[i + line + channels]) / 4;
      }
    }
  }
  return half;
}

function send(message, maps) {
  const buffers = maps ? Object.values(maps).map((map) => map.data.buffer) : [];
  self.postMessage({ ...message, maps }, buffers);
}

/** Draws the known frames one after the other, as long as frames are wanted. */
async function pump(now) {
  if (now.pumping) return;
  now.pumping = true;
  while (stream === now && now.rows.length && now.wanted > 0) {
    const row = now.rows.shift();
    const index = now.index++;
    // A frame whose time is over is not drawn, unless it is the last one known.
    if (index < now.from && now.rows.length) continue;
    now.wanted--;
    send({ type: "frame", id: now.id, index }, await outputs(row));
  }
  now.pumping = false;
  if (stream === now && now.ended && !now.rows.length) {
    send({ type: "done", id: now.id, frames: now.index });
    stream = null;
  }
}

/** Handles the messages of a sound one after the other; frames are drawn in between. */
function listen(now, work) {
  now.heard = now.heard
    .then(async () => {
      if (stream !== now) return;
      now.rows.push(...(await work()));
      pump(now);
    })
    .catch((error) => send({ type: "error", id: now.id, message: String(error.message ?? error) }));
}

self.onmessage = ({ data }) => {
  const now = stream !== null && stream.id === data.id ? stream : null;
  if (data.type === "load") {
    load(data.base).catch((error) => send({ type: "error", message: String(error.message ?? error) }));
  } else if (data.type === "start") {
    const level = data.whole ? speechLevel(data.whole, manifest.hearing.sampling_rate, manifest.loudness) : null;
    const speech = new Speech(manifest, hear, { ...data.how, level });
    stream = { id: data.id, speech, rows: [], wanted: 0, from: 0, index: 0, ended: false, heard: Promise.resolve() };
  } else if (data.type === "sound" && now) {
    listen(now, () => now.speech.push(data.samples));
  } else if (data.type === "end" && now) {
    listen(now, async () => {
      const rows = await now.speech.flush();
      now.ended = true;
      return rows;
    });
  } else if (data.type === "want" && now) {
    now.wanted = data.count;
    now.from = Math.max(now.from, data.from);
    pump(now);
  } else if (data.type === "stop") {
    stream = null;
  }
};
