/**
 * One verifier's event stream: between the reader, which never waits, and a connection that may be slow.
 *
 * States: catching up (live events are held) → live → ended. Events leave in the order of their numbers, none twice,
 * none left out: where that cannot be kept (too much waits, a gap) the stream is cut, and the verifier resumes by
 * `Last-Event-ID`.
 */
import { createFrameQueue } from './frames.ts';

export interface EventStream {
  readonly body: ReadableStream<Uint8Array>;
  /** Sends what was missed, up to `seq`, and goes live. */
  start(missed: readonly Uint8Array[], seq: number): void;
  sendRevocation(seq: number, frame: Uint8Array): void;
  sendHeartbeat(seq: number, frame: Uint8Array): void;
  /** Ends the stream in good order; what still waits is dropped. */
  end(): void;
}

export interface EventStreamOptions {
  /** Live events waiting for this connection, in bytes at most. */
  bufferBytes: number;
  /** Called once, however the stream ends. */
  onEnd: () => void;
  /** Drops the connection under the stream, because its other side does not take what is sent. */
  cut: () => void;
}

export function createEventStream({ bufferBytes, onEnd, cut }: EventStreamOptions): EventStream {
  const pipe = createPipe(bufferBytes, onEnd);
  let held: { seq: number; frame: Uint8Array }[] = [];
  let heldBytes = 0;
  /** The last number that was sent; undefined while catching up. */
  let last: number | undefined;

  function abandon(): void {
    held = [];
    pipe.end();
    cut();
  }

  function hold(seq: number, frame: Uint8Array): void {
    held.push({ seq, frame });
    heldBytes += frame.length;
    if (heldBytes > bufferBytes) abandon();
  }

  function append(seq: number, frame: Uint8Array, sent: number): void {
    if (pipe.isEnded() || seq <= sent) return;
    last = seq;
    if (seq !== sent + 1 || !pipe.queue.push(frame)) abandon();
  }

  return {
    body: pipe.body,
    start(missed, seq) {
      const waiting = held;
      held = [];
      last = seq;
      pipe.queue.lead(missed);
      for (const event of waiting) append(event.seq, event.frame, last);
      pipe.flush();
    },
    sendRevocation(seq, frame) {
      if (pipe.isEnded()) return;
      if (last === undefined) return hold(seq, frame);
      append(seq, frame, last);
      pipe.flush();
    },
    sendHeartbeat(seq, frame) {
      // A heartbeat of a read that is older than the snapshot says nothing new; the next one follows within a second.
      if (pipe.isEnded() || last === undefined || seq < last) return;
      pipe.queue.setHeartbeat(frame);
      pipe.flush();
    },
    end: pipe.end,
  };
}

/** A queue and the stream that it leaves by, as fast as the other side takes it. */
function createPipe(maxBytes: number, onEnd: () => void) {
  const queue = createFrameQueue(maxBytes);
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  let isWanted = false;
  let isEnded = false;

  function flush(): void {
    const piece = isWanted && !isEnded ? queue.take() : undefined;
    if (piece === undefined) return;
    isWanted = false;
    controller?.enqueue(piece);
  }

  function finish(): boolean {
    if (isEnded) return false;
    isEnded = true;
    queue.clear();
    onEnd();
    return true;
  }

  const body = new ReadableStream<Uint8Array>(
    {
      start(given) {
        controller = given;
      },
      pull() {
        isWanted = true;
        flush();
      },
      cancel() {
        finish();
      },
    },
    // Nothing is taken from the queue before the connection asks, so the queue is the only buffer.
    { highWaterMark: 0 },
  );

  return {
    body,
    queue,
    flush,
    isEnded: () => isEnded,
    end() {
      if (finish()) controller?.close();
    },
  };
}
