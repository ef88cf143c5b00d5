/** Brings speech to one loudness before audio-to-lip hears it, and measures the loudness of each frame's time. */

/** Measures the level of each block of a sound that comes in pieces, in decibels. */
class Blocks {
  constructor(size) {
    this.size = size;
    this.energy = 0;
    this.count = 0;
  }

  /** Calls `found` with the level of each block that is complete now. */
  add(samples, found) {
    for (const sample of samples) {
      this.energy += sample * sample;
      if (++this.count === this.size) {
        found(10 * Math.log10(this.energy / this.size + 1e-12));
        this.energy = this.count = 0;
      }
    }
  }
}

/** Returns the factor that brings speech from a level in decibels to the one that audio-to-lip hears best. */
function gainFor(level, numbers) {
  const change = Math.min(numbers.most_gain, Math.max(numbers.most_damping, numbers.target - level));
  return 10 ** (change / 20);
}

/** Returns the level of the speech in a whole sound, in decibels; the target if nothing is louder than the rest. */
export function speechLevel(samples, rate, numbers) {
  const levels = [];
  new Blocks(Math.round(numbers.block * rate)).add(samples, (level) => level > numbers.quietest && levels.push(level));
  if (!levels.length) return numbers.target;
  const sorted = [...levels].sort((a, b) => a - b);
  const place = 0.95 * (sorted.length - 1);
  const below = sorted[Math.floor(place)];
  const loudest = below + (place % 1) * (sorted[Math.ceil(place)] - below);
  const least = Math.max(loudest - numbers.pause, sorted[0] + numbers.background);
  const speech = levels.filter((level) => level > least);
  return speech.length ? speech.reduce((sum, level) => sum + level, 0) / speech.length : numbers.target;
}

/** Brings sound that comes in pieces to one loudness, without delay. */
export class LoudnessNormalizer {
  /** @param {number | null} level of the whole sound; null estimates it while the sound comes. */
  constructor(rate, numbers, level = null) {
    this.numbers = numbers;
    this.fixed = level === null ? null : gainFor(level, numbers);
    this.size = Math.round(numbers.block * rate);
    this.blocks = new Blocks(this.size);
    this.loudest = -Infinity;
    this.quietest = Infinity;
    this.weight = numbers.prior;
    this.level = numbers.target;
    this.gain = this.next = 1;
    this.at = 0;
  }

  push(samples) {
    if (this.fixed !== null) return samples.map((sample) => sample * this.fixed);
    const result = new Float32Array(samples.length);
    for (let i = 0; i < samples.length; i++) {
      result[i] = samples[i] * (this.gain + (this.at / this.size) * (this.next - this.gain));
      this.at++;
      this.blocks.add(samples.subarray(i, i + 1), (level) => {
        this.hear(level);
        this.gain = this.next;
        this.next = gainFor(this.level, this.numbers);
        this.at = 0;
      });
    }
    return result;
  }

  hear(level) {
    const numbers = this.numbers;
    if (level <= numbers.quietest) return;
    const step = numbers.forgetting * numbers.block;
    this.loudest = Math.max(level, this.loudest - step);
    this.quietest = Math.min(level, this.quietest + step / 4);
    if (level > Math.max(this.loudest - numbers.pause, this.quietest + numbers.background)) {
      this.weight += numbers.block;
      this.level += (numbers.block / Math.min(this.weight, numbers.remembered)) * (level - this.level);
    }
  }
}

/** Measures the loudness of a sound in each frame's time, in decibels, as it comes. */
export class FrameLoudness {
  constructor(fps, rate) {
    this.step = rate / fps;
    this.energy = 0;
    this.count = 0;
    this.samples = 0;
    this.levels = [];
  }

  push(samples) {
    for (const sample of samples) {
      this.energy += sample * sample;
      this.count++;
      this.samples++;
      if (this.samples === Math.round((this.levels.length + 1) * this.step)) this.close();
    }
  }

  /** Returns the level of a frame; of a future one, that of silence. */
  at(frame) {
    return frame < this.levels.length ? this.levels[frame] : -Infinity;
  }

  close() {
    this.levels.push(this.energy > 0 ? 10 * Math.log10(this.energy / this.count) : -Infinity);
    this.energy = this.count = 0;
  }
}
