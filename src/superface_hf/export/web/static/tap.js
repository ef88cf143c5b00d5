/** Passes sound on as one channel, about 20 ms at a time. */
class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(128 * Math.ceil((0.02 * sampleRate) / 128));
    this.filled = 0;
  }

  process([channels]) {
    for (let i = 0; i < 128; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.block[this.filled + i] = channels.length ? sum / channels.length : 0;
    }
    this.filled += 128;
    if (this.filled === this.block.length) {
      // The time at which the block's first sample was heard.
      const time = currentTime + (128 - this.filled) / sampleRate;
      this.port.postMessage({ samples: this.block.slice(), time });
      this.filled = 0;
    }
    return true;
  }
}

registerProcessor("superface-tap", Tap);
