/**
 * Idle motion: what a face does besides speaking. The head sways and nods with the voice, eyes look about and blink.
 *
 * As superface_hf.drivers.idle does it, with its numbers (they are in the manifest) and another generator of random numbers: the
 * same seed gives another of the possible motions than in Python.
 */

const eased = (x) => {
  const t = Math.min(1, Math.max(0, x));
  return t * t * (3 - 2 * t);
};
const radians = (degrees) => (degrees * Math.PI) / 180;

/** Random numbers (mulberry32, by Tommy Ettinger): uniform, normal, log-normal, exponential. */
class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  uniform(low = 0, high = 1) {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return low + (((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * (high - low);
  }

  normal(mean = 0, spread = 1) {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return mean + spread * radius * Math.cos(2 * Math.PI * this.uniform());
  }

  lognormal(mean, spread) {
    return Math.exp(this.normal(Math.log(mean) - (spread * spread) / 2, spread));
  }

  exponential(mean) {
    return -mean * Math.log(1 - this.uniform());
  }
}

/** Band-limited noise as a sum of waves. */
class Sway {
  constructor(random, n) {
    this.start = n.start;
    this.waves = [...n.sway_turn.map(radians), ...n.sway_shift].map((spread) => {
      const waves = Array.from({ length: n.sway_waves }, (_, i) => {
        const frequency = n.slowest * (n.fastest / n.slowest) ** ((i + random.uniform()) / n.sway_waves);
        return { frequency, phase: random.uniform(0, 2 * Math.PI), weight: frequency ** -n.sway_slope };
      });
      const power = Math.sqrt(waves.reduce((sum, wave) => sum + wave.weight ** 2, 0) / 2);
      return waves.map((wave) => ({ ...wave, weight: (spread * wave.weight) / power }));
    });
  }

  /** Returns the turn (3, radians) and the shift (3). */
  at(time) {
    const onset = eased(time / this.start);
    return this.waves.map(
      (waves) =>
        onset * waves.reduce((sum, w) => sum + w.weight * Math.sin(2 * Math.PI * w.frequency * time + w.phase), 0),
    );
  }
}

/** How far the lids are shut, 0 to 1; must be called with increasing times. */
class Blinks {
  constructor(random, n) {
    Object.assign(this, { random, n, begin: 0, end: 0 });
    this.next();
  }

  at(time) {
    while (time >= this.end) this.next();
    const [closing, shut, opening] = this.phases;
    const since = time - this.begin;
    return eased(since / closing) * (1 - eased((since - closing - shut) / opening));
  }

  next() {
    const { random, n } = this;
    const interval = random.lognormal(n.blink_every, n.blink_spread);
    this.phases = [n.blink_closing, n.blink_shut, n.blink_opening].map((limits) => random.uniform(...limits));
    this.begin = Math.max(this.begin + interval, this.end + n.blink_rest);
    this.end = this.begin + this.phases.reduce((sum, phase) => sum + phase);
  }
}

/** Where the eyes look, right and down in radians: at the camera, away, and back. */
class Gaze {
  constructor(random, n) {
    Object.assign(this, { random, n, before: [0, 0], target: [0, 0], away: false, begin: 0, lasts: n.saccade_base });
    this.end = random.lognormal(n.gaze_camera, n.gaze_spread);
  }

  at(time) {
    while (time >= this.end) this.next();
    const share = eased((time - this.begin) / this.lasts);
    return this.before.map((from, axis) => from + share * (this.target[axis] - from));
  }

  next() {
    const { random, n } = this;
    this.away = !this.away;
    this.before = this.target;
    this.begin = this.end;
    let target = [random.normal(0, n.gaze_jitter), random.normal(0, n.gaze_jitter)];
    if (this.away) {
      const far = Math.min(n.gaze_limits[1], Math.max(n.gaze_limits[0], random.exponential(n.gaze_mean)));
      const direction = random.uniform(0, 2 * Math.PI);
      target = [far * Math.cos(direction), 0.6 * far * Math.sin(direction)];
    }
    this.target = target.map(radians);
    const way = Math.hypot(this.target[0] - this.before[0], this.target[1] - this.before[1]);
    this.lasts = n.saccade_base + n.saccade_per_degree * ((way * 180) / Math.PI);
    this.end += random.lognormal(this.away ? n.gaze_away : n.gaze_camera, n.gaze_spread);
  }
}

/** An exponential average that begins at zero; `delay` in seconds. */
class Average {
  constructor(step, delay) {
    this.value = 0;
    this.share = 1 - Math.exp(-step / delay);
  }

  add(value) {
    this.value += this.share * (value - this.value);
    return this.value;
  }
}

/** How strongly the voice is stressed, as the head's nod and the brows' raise follow it. */
class Accents {
  constructor(step, n) {
    this.n = n;
    this.peak = n.floor_db + n.voice_range_db;
    this.fall = n.peak_fall_db * step;
    this.quick = new Average(step, n.quick);
    this.slow = new Average(step, n.slow);
    this.nod = [new Average(step, n.nod_delay), new Average(step, n.nod_delay)];
    this.brows = [new Average(step, n.brow_delay), new Average(step, n.brow_delay)];
  }

  at(loudness) {
    const { n } = this;
    const answer = [this.nod[1].value, this.brows[1].value];
    this.peak = Math.max(loudness, n.floor_db + n.voice_range_db, this.peak - this.fall);
    const voice = Math.max(0, 1 + (loudness - this.peak) / n.voice_range_db);
    const accent = Math.max(0, this.quick.add(voice) - this.slow.add(voice));
    for (const [first, second] of [this.nod, this.brows]) second.add(first.add(accent));
    return answer;
  }
}

/** Idle motion, frame by frame, as rows of the student's graph; frame 0 is at rest. */
export class Idle {
  /** @param {object} manifest the student's; @param {number} strength 0 (nothing moves) to 2. */
  constructor(manifest, fps, { seed = 0, strength = 1 } = {}) {
    const n = manifest.idle;
    Object.assign(this, { n, fps, strength, motion: manifest.motion, frame: 0 });
    [this.sway, this.blinks, this.gaze] = [Sway, Blinks, Gaze].map((kind, i) => new kind(new Random(3 * seed + i), n));
    this.accents = new Accents(1 / fps, n);
    this.width = Math.max(...Object.values(this.motion).map((part) => part.columns[1]));
  }

  /** Returns the next row, for a frame of this loudness (decibels), without a mouth. */
  next(loudness) {
    const { n, strength } = this;
    const time = this.frame++ / this.fps;
    const [nod, stress] = this.accents.at(loudness);
    const row = new Float32Array(this.width);
    const put = (name, values) => row.set(values, this.motion[name].columns[0]);
    put("scale", [1]);
    const blink = this.blinks.at(time);
    const look = this.gaze.at(time);
    if (strength === 0) return row;
    const [pitch, yaw, roll, right, down, nearer] = this.sway.at(time).map((value) => strength * value);
    const turn = [pitch - strength * radians(n.nod_degrees) * nod, yaw, roll];
    put("rotation", turn);
    put("translation", [right, down]);
    put("scale", [1 + nearer]);
    put("eyes", n.lids.map((lid) => blink * lid));
    const raised = strength * n.brow_raise * Math.max(0, stress - n.brow_threshold);
    put("brows", n.brows.map((brow) => raised * brow));
    // The eyes stay on what they look at while the head turns.
    const eyes = [strength * look[0] - turn[1], strength * look[1] + turn[0]];
    put("gaze", [...eyes, ...eyes]);
    return row;
  }
}
