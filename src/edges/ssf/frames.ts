/** Events in the wire form of Server-Sent Events, and the bounded queue of those that wait for a connection. */
import type { FeedRevocation } from '../../protocol.ts';

const encoder = new TextEncoder();

/** JSON text holds no line breaks, so one `data` line is enough. */
export function encodeEvent(event: string, data: object, id?: number): Uint8Array {
  const idLine = id === undefined ? '' : `id: ${id}\n`;
  return encoder.encode(`event: ${event}\n${idLine}data: ${JSON.stringify(data)}\n\n`);
}

export const encodeRevocation = (entry: FeedRevocation): Uint8Array => encodeEvent('revocation', entry, entry.seq);

/** A revocation ready to be sent; one frame serves all streams. */
export interface SeqFrame {
  seq: number;
  frame: Uint8Array;
}

export interface FrameQueue {
  push(frame: Uint8Array): void;
  /** Whether as much waits as may wait. */
  isFull(): boolean;
  /** Puts frames in front that are not counted: what a verifier has to get before it can follow. */
  lead(frames: readonly Uint8Array[]): void;
  /** Sets the one heartbeat that leaves after everything else; an older one that still waits is worth nothing. */
  setHeartbeat(frame: Uint8Array): void;
  /** Takes everything out, as one piece; undefined when nothing waits. */
  take(): Uint8Array | undefined;
  clear(): void;
}

export function createFrameQueue(maxBytes: number): FrameQueue {
  let frames: Uint8Array[] = [];
  let heartbeat: Uint8Array | undefined;
  let bytes = 0;

  function clear(): void {
    frames = [];
    heartbeat = undefined;
    bytes = 0;
  }

  return {
    push(frame) {
      bytes += frame.length;
      frames.push(frame);
    },
    isFull: () => bytes >= maxBytes,
    lead(first) {
      frames = [...first, ...frames];
    },
    setHeartbeat(frame) {
      heartbeat = frame;
    },
    take() {
      const all = heartbeat === undefined ? frames : [...frames, heartbeat];
      clear();
      return all.length > 1 ? Buffer.concat(all) : all[0];
    },
    clear,
  };
}
