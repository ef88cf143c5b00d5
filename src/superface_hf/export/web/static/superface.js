/**
 * A SuperFace student in a browser: sound in, a talking face on a canvas. Everything runs in the page; nothing is sent anywhere.
 *
 *     import { SuperFace } from "./superface.js";
 *     const face = await SuperFace.load(document.querySelector("canvas"));
 *     await face.say(await (await fetch("speech.wav")).arrayBuffer());
 */

import { Drawing } from "./drawing.js";
import { Resampler } from "./hearing.js";
import { loadLayers } from "./layers.js";

const WAITING = 8; // frames that are ready before they are shown
const BEHIND = 0.35; // seconds by which the picture of a live sound is late: audio-to-lip hears 0.2 s ahead

export class SuperFace {
  /**
   * @param {HTMLCanvasElement | OffscreenCanvas} canvas
   * @param {{url?: string | URL, transparent?: boolean}} options
   */
  static async load(canvas, { url = import.meta.url, transparent = false } = {}) {
    const base = new URL("./", new URL(url, globalThis.location?.href));
    const worker = new Worker(new URL("worker.js", base), { type: "module" });
    try {
      const { manifest, maps } = await new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => (data.type === "ready" ? resolve(data) : reject(new Error(data.message)));
        worker.onerror = (event) => reject(new Error(event.message || "The worker cannot be started."));
        worker.postMessage({ type: "load", base: base.href });
      });
      const drawing = new Drawing(canvas, manifest, { transparent });
      drawing.use(await loadLayers(manifest, base, drawing.largest));
      const face = new SuperFace(worker, manifest, drawing, base);
      face.show(maps);
      return face;
    } catch (error) {
      worker.terminate();
      throw error;
    }
  }

  /** Use `SuperFace.load`. */
  constructor(worker, manifest, drawing, base) {
    Object.assign(this, { worker, manifest, drawing, base });
    this.fps = manifest.frame_rate;
    /** How many frames were shown, and how many came too late to be shown. */
    this.shown = this.dropped = 0;
    /** How far the lips are apart, in heights of the face. */
    this.opening = 0;
    this.speaking = null;
    this.ids = 0;
    worker.onmessage = ({ data }) => this.told(data);
  }

  /**
   * Says a sound and plays it; resolves when it has been said, or stopped.
   * @param {ArrayBuffer | Blob | AudioBuffer | string | URL} sound
   * @param {{seed?: number, strength?: number, context?: AudioContext, mute?: boolean}} how
   */
  async say(sound, how = {}) {
    const context = how.context ?? this.audio();
    const heard = await this.decoded(sound, context);
    const samples = await this.samplesOf(heard);
    const speech = this.begin(how, samples);
    const ready = speech.ready;
    this.send({ type: "sound", id: speech.id, samples });
    this.send({ type: "end", id: speech.id });
    await ready;
    if (speech.stopped) return;
    await context.resume();
    const source = new AudioBufferSourceNode(context, { buffer: heard });
    if (!how.mute) source.connect(context.destination);
    const begin = context.currentTime + 0.05;
    source.start(begin);
    speech.cleanup = () => source.disconnect();
    // Played sound is heard a little later.
    speech.clock = () => context.currentTime - begin - (context.outputLatency || 0);
    this.animate(speech);
    return speech.over;
  }

  /**
   * Follows an <audio> or <video> element: its sound is heard `BEHIND` seconds later, with the face.
   * @param {HTMLMediaElement} element
   * @returns a function that stops following; the element keeps playing.
   */
  async follow(element, how = {}) {
    const context = how.context ?? this.audio();
    element.superfaceSource ??= context.createMediaElementSource(element);
    return this.connect(element.superfaceSource, { ...how, audible: true });
  }

  /**
   * Listens to a microphone or any other stream with sound.
   * @param {MediaStream} stream by default the microphone's, which the user is asked for.
   * @returns a function that stops listening.
   */
  async listen(stream, how = {}) {
    const own = !stream;
    stream ??= await navigator.mediaDevices.getUserMedia({ audio: true });
    const context = how.context ?? this.audio();
    const source = context.createMediaStreamSource(stream);
    const end = await this.connect(source, how);
    return () => {
      end();
      source.disconnect();
      if (own) stream.getTracks().forEach((track) => track.stop());
    };
  }

  /**
   * Follows any node of Web Audio, live.
   * @param {AudioNode} node
   * @param {{audible?: boolean}} how whether its sound is also played, in step with the face.
   */
  async connect(node, how = {}) {
    const { context } = node;
    await context.audioWorklet.addModule(new URL("tap.js", this.base));
    await context.resume();
    const tap = new AudioWorkletNode(context, "superface-tap", { numberOfOutputs: 0 });
    const delay = new DelayNode(context, { delayTime: BEHIND, maxDelayTime: 1 });
    const rate = this.manifest.hearing.sampling_rate;
    const resampler = new Resampler(context.sampleRate, rate);
    const speech = this.begin(how);
    let begin = null;
    speech.clock = () => (begin === null ? -1 : context.currentTime - begin - BEHIND - (how.audible ? context.outputLatency || 0 : 0));
    tap.port.onmessage = ({ data }) => {
      begin ??= data.time;
      this.send({ type: "sound", id: speech.id, samples: resampler.push(data.samples) });
    };
    node.connect(tap);
    if (how.audible) node.connect(delay).connect(context.destination);
    speech.cleanup = () => {
      node.disconnect(tap);
      if (how.audible) {
        node.disconnect(delay);
        delay.disconnect();
      }
      tap.port.onmessage = null;
    };
    this.animate(speech);
    return () => speech === this.speaking && this.stop();
  }

  /**
   * Draws a sound's frames as fast as they can be, without playing it: for recording.
   * @param {Float32Array} samples mono, at `manifest.hearing.sampling_rate`.
   */
  async *render(samples, how = {}) {
    const speech = this.begin(how, samples);
    this.send({ type: "sound", id: speech.id, samples });
    this.send({ type: "end", id: speech.id });
    for (;;) {
      while (!speech.frames.length && !speech.done && !speech.stopped) await speech.news();
      const frame = speech.frames.shift();
      if (!frame || speech.stopped) break;
      this.want(speech, frame.index + 1);
      this.show(frame.maps);
      yield { index: frame.index, time: frame.index / this.fps, opening: this.opening };
    }
    if (this.speaking === speech) this.finish(speech);
  }

  /** Stops the speech; the face stays as it is. */
  stop() {
    if (this.speaking) this.finish(this.speaking, true);
  }

  /** Ends everything, and frees the memory of the worker and of the textures. */
  close() {
    this.stop();
    this.worker.terminate();
    this.drawing.close();
    this.context?.close();
  }

  audio() {
    this.context ??= new AudioContext();
    return this.context;
  }

  async decoded(sound, context) {
    if (sound instanceof AudioBuffer) return sound;
    if (typeof sound === "string" || sound instanceof URL) {
      const response = await fetch(sound);
      if (!response.ok) throw new Error(`${sound} cannot be loaded: ${response.status} ${response.statusText}`);
      sound = await response.arrayBuffer();
    }
    return context.decodeAudioData(sound instanceof Blob ? await sound.arrayBuffer() : sound.slice(0));
  }

  /** Returns a sound as one channel at audio-to-lip's rate. */
  async samplesOf(buffer) {
    const rate = this.manifest.hearing.sampling_rate;
    const offline = new OfflineAudioContext(1, Math.max(1, Math.round(buffer.duration * rate)), rate);
    const source = new AudioBufferSourceNode(offline, { buffer });
    source.connect(offline.destination);
    source.start();
    return (await offline.startRendering()).getChannelData(0).slice();
  }

  /** @param whole the samples of the whole sound if they are known, from which its loudness follows. */
  begin(how, whole = null) {
    this.stop();
    const { seed = 0, strength = 1 } = how;
    const speech = { id: ++this.ids, frames: [], waiting: [], done: false, stopped: false };
    speech.over = new Promise((resolve) => (speech.finished = resolve));
    speech.ready = new Promise((resolve) => (speech.isReady = resolve));
    speech.news = () => new Promise((resolve) => speech.waiting.push(resolve));
    this.speaking = speech;
    this.send({ type: "start", id: speech.id, whole, how: { seed, strength } });
    this.want(speech, 0);
    return speech;
  }

  /** Requests so many more frames, from the frame `from` on. */
  want(speech, from) {
    this.send({ type: "want", id: speech.id, count: WAITING - speech.frames.length, from });
  }

  told(data) {
    if (data.type === "error") console.error(`SuperFace: ${data.message}`);
    const speech = this.speaking;
    if (!speech || data.id !== speech.id) return;
    if (data.type === "frame") speech.frames.push(data);
    if (data.type === "done") speech.done = true;
    if (data.type === "error") this.finish(speech, true);
    if (speech.done || speech.frames.length >= WAITING / 2) speech.isReady();
    speech.waiting.splice(0).forEach((resolve) => resolve());
  }

  /** Shows frames when their time has come; those whose time is over are dropped, so that the face stays in step. */
  animate(speech) {
    const step = () => {
      if (speech.stopped) return;
      const due = Math.floor(speech.clock() * this.fps + 1e-6);
      let frame = null;
      while (speech.frames.length && speech.frames[0].index <= due) {
        if (frame) this.dropped++;
        frame = speech.frames.shift();
      }
      if (frame) {
        this.dropped += Math.max(0, frame.index - (speech.last ?? -1) - 1);
        speech.last = frame.index;
        this.show(frame.maps);
      }
      this.want(speech, Math.max(0, due));
      if (speech.done && !speech.frames.length) this.finish(speech);
      else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  show(maps) {
    this.drawing.draw(maps);
    this.shown++;
    const points = maps.landmarks.data;
    const gaps = this.manifest.inner_lips.map(([upper, lower]) => points[3 * lower + 1] - points[3 * upper + 1]);
    const height = points[3 * 152 + 1] - points[3 * 10 + 1]; // from the forehead to the chin
    this.opening = gaps.reduce((sum, gap) => sum + gap) / gaps.length / height;
  }

  finish(speech, stopped = false) {
    speech.stopped = true;
    if (this.speaking === speech) this.speaking = null;
    if (stopped) this.send({ type: "stop" });
    speech.cleanup?.();
    speech.isReady();
    speech.waiting.splice(0).forEach((resolve) => resolve());
    speech.finished();
  }

  send(message) {
    this.worker.postMessage(message);
  }
}
