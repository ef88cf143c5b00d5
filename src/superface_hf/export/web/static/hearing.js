/** Turns sound into rows of motion: the mouth by audio-to-lip's graph, the rest by idle motion. */

import { Idle } from "./idle.js";
import { FrameLoudness, LoudnessNormalizer } from "./loudness.js";

const joined = (a, b) => {
  const both = new Float32Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
};

/** Turns a sound that comes in pieces into motion; each frame is known 0.2 s after its time. */
export class Speech {
  /**
   * @param {(samples: Float32Array, state: Float32Array) => Promise<{mouth: Float32Array, state: Float32Array}>} hear
   * runs the graph.
   * @param {{fps?: number, level?: number | null, seed?: number, strength?: number}} how
   */
  constructor(manifest, hear, how = {}) {
    const about = manifest.hearing;
    this.fps = how.fps ?? manifest.frame_rate;
    Object.assign(this, { about, hear, mouth: manifest.motion.mouth.columns });
    this.levelled = new LoudnessNormalizer(about.sampling_rate, manifest.loudness, how.level ?? null);
    this.loudness = new FrameLoudness(this.fps, about.sampling_rate);
    this.idle = new Idle(manifest, this.fps, how);
    this.pending = new Float32Array(about.zeros_before);
    this.state = new Float32Array(about.state_size);
    this.undecided = about.look_ahead_frames;
    this.mouths = []; // inner frames from this.first on
    this.first = this.done = this.samples = 0;
    this.step = about.frame_rate / this.fps; // inner frames from one frame to the next
  }

  /** Adds the next samples, and returns the rows that are known now. */
  async push(samples) {
    const levelled = this.levelled.push(samples);
    this.samples += samples.length;
    this.loudness.push(levelled);
    await this.run(levelled);
    return this.read(this.frames);
  }

  /** Ends the sound, after which silence follows, and returns the rows still missing. */
  async flush() {
    const frames = this.samples ? Math.max(1, this.frames) : 0;
    if (this.loudness.count) this.loudness.close();
    const rows = [];
    while (this.done < frames) {
      const missing = Math.ceil(this.position(frames - 1)) + 1 - this.first - this.mouths.length + this.undecided;
      await this.run(new Float32Array(missing * this.about.samples_per_frame));
      rows.push(...this.read(frames));
    }
    return rows;
  }

  /** Returns how many frames the sound so far lasts. */
  get frames() {
    return Math.round((this.samples / this.about.sampling_rate) * this.fps);
  }

  async run(samples) {
    const { samples_per_frame: step, samples_overlap: overlap, mouth_size: size } = this.about;
    this.pending = joined(this.pending, samples);
    const count = Math.floor((this.pending.length - overlap) / step);
    if (count < 1) return;
    const { mouth, state } = await this.hear(this.pending.slice(0, count * step + overlap), this.state);
    this.state = state;
    this.pending = this.pending.slice(count * step);
    for (let i = 0; i < count; i++) {
      if (this.undecided > 0) this.undecided--;
      else this.mouths.push(mouth.slice(i * size, (i + 1) * size));
    }
  }

  /** Interpolates between two inner frames, so the later one must be known. */
  read(limit) {
    const rows = [];
    while (this.done < limit) {
      const at = this.position(this.done);
      const lower = Math.floor(at);
      const share = at - lower;
      if (Math.ceil(at) >= this.first + this.mouths.length) break;
      const one = this.mouths[lower - this.first];
      const other = share > 0 ? this.mouths[lower + 1 - this.first] : one;
      const row = this.idle.next(this.loudness.at(this.done));
      row.set(one.map((value, i) => value + share * (other[i] - value)), this.mouth[0]);
      rows.push(row);
      this.done++;
    }
    const passed = Math.min(Math.max(0, Math.floor(this.position(this.done)) - this.first), this.mouths.length);
    this.mouths.splice(0, passed);
    this.first += passed;
    return rows;
  }

  position(frame) {
    return Math.round(frame * this.step * 1e6) / 1e6;
  }
}

/** Brings sound that comes in pieces to another rate: a sinc of 16 zero crossings under a Hann window. */
export class Resampler {
  constructor(from, to) {
    this.step = from / to;
    this.cut = Math.min(1, to / from);
    this.reach = Math.ceil(16 / this.cut);
    this.kernels = new Map(); // by place between two samples; usual rates have few such places
    this.rest = new Float32Array(this.reach);
    this.start = -this.reach; // which sample of the sound the first one kept is
    this.given = 0;
  }

  push(samples) {
    this.rest = joined(this.rest, samples);
    const result = [];
    for (;;) {
      const at = this.given * this.step;
      const middle = Math.floor(at);
      if (middle + this.reach + 1 > this.start + this.rest.length) break;
      const kernel = this.kernel(at - middle);
      const first = middle - this.reach + 1 - this.start;
      let sum = 0;
      for (let k = 0; k < kernel.length; k++) sum += this.rest[first + k] * kernel[k];
      result.push(sum);
      this.given++;
    }
    const passed = Math.max(0, Math.floor(this.given * this.step) - this.reach - this.start);
    this.rest = this.rest.slice(passed);
    this.start += passed;
    return Float32Array.from(result);
  }
  kernel(share) {
    const key = Math.round(share * 1e6);
    if (!this.kernels.has(key)) {
      const kernel = Float32Array.from({ length: 2 * this.reach }, (_, k) => {
        const x = share + this.reach - 1 - k;
        const wave = x === 0 ? 1 : Math.sin(Math.PI * this.cut * x) / (Math.PI * this.cut * x);
        return this.cut * wave * (0.5 + 0.5 * Math.cos((Math.PI * x) / (this.reach + 1)));
      });
      this.kernels.set(key, kernel);
    }
    return this.kernels.get(key);
  }
}
