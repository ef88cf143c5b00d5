/** How a face moves while it speaks. */
export interface Speaking {
  /** Which of the possible idle motions; 0 by default. */
  seed?: number;
  /** How far head, gaze and brows go, from 0 (nothing moves but the mouth) to 2; 1 by default. */
  strength?: number;
  /** Web Audio's context; one is made by default. Browsers let it play only after the user did something. */
  context?: AudioContext;
}

/** What `manifest.json` says of a student; the file has more. */
export interface Manifest {
  person: string | null;
  license: string;
  provenance: { digital_source_type: string; statement: string; note: string };
  picture: { width: number; height: number };
  frame_rate: number;
  hearing: { sampling_rate: number; look_ahead_frames: number; frame_rate: number };
}

/** A frame that `render` has drawn. */
export interface DrawnFrame {
  index: number;
  /** Seconds since the beginning of the sound. */
  time: number;
  /** How far the lips are apart, in heights of the face. */
  opening: number;
}

/** A student that speaks on a canvas. */
export class SuperFace {
  /**
   * Loads the student and draws it at rest.
   * @param options url: where the folder is, by default where this file is; transparent: leaves out what is behind the person.
   */
  static load(
    canvas: HTMLCanvasElement | OffscreenCanvas,
    options?: { url?: string | URL; transparent?: boolean },
  ): Promise<SuperFace>;

  readonly manifest: Manifest;
  readonly fps: number;
  /** Frames that were shown, and those that came too late to be. */
  readonly shown: number;
  readonly dropped: number;
  /** How far the lips are apart now, in heights of the face. */
  readonly opening: number;

  /** Says a sound and plays it; resolves when it has been said, or stopped. */
  say(sound: ArrayBuffer | Blob | AudioBuffer | string | URL, how?: Speaking & { mute?: boolean }): Promise<void>;
  /** Follows an <audio> or <video> element, whose sound is heard 0.35 s later, with the face; returns what ends it. */
  follow(element: HTMLMediaElement, how?: Speaking): Promise<() => void>;
  /** Listens to a stream, by default the microphone's; the face follows 0.35 s later. Returns what ends it. */
  listen(stream?: MediaStream, how?: Speaking): Promise<() => void>;
  /** Follows any node of Web Audio; `audible` also plays it, in step with the face. Returns what ends it. */
  connect(node: AudioNode, how?: Speaking & { audible?: boolean }): Promise<() => void>;
  /** Draws frames as fast as they can be, of mono samples at `manifest.hearing.sampling_rate`. */
  render(samples: Float32Array, how?: Speaking): AsyncGenerator<DrawnFrame, void, void>;
  /** Ends what is being said; the face stays as it is. */
  stop(): void;
  /** Ends everything and gives memory back. */
  close(): void;
}
