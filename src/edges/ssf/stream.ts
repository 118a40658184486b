/**
 * One verifier's event stream: between the reader, which never waits, and a connection that may be slow.
 *
 * States: catching up (live events are held) → live → ended. Events leave in the order of their numbers, none twice,
 * none left out: where that cannot be kept (too much waits, a gap) the stream is cut, and the verifier resumes by
 * `Last-Event-ID`.
 */
import { createFrameQueue, type SeqFrame } from './frames.ts';

export interface EventStream {
  readonly body: ReadableStream<Uint8Array>;
  /** Sends what was missed, up to `seq`, and goes live. */
  start(missed: readonly Uint8Array[], seq: number): void;
  /**
   * Sends what was read at once. Whether too much waits is asked before, never within: the connection has had no turn
   * to take anything while a large batch is handed over.
   */
  sendRevocations(batch: readonly SeqFrame[]): void;
  sendHeartbeat(seq: number, frame: Uint8Array): void;
  /** Ends the stream in good order; what still waits is dropped. */
  end(): void;
}

export interface EventStreamOptions {
  /** When this many bytes of live events wait for the connection, the next batch cuts it off. */
  bufferBytes: number;
  /** Called once, however the stream ends. */
  onEnd: () => void;
  /** Drops the connection under the stream, because its other side does not take what is sent. */
  cut: () => void;
}

export function createEventStream({ bufferBytes, onEnd, cut }: EventStreamOptions): EventStream {
  const pipe = createPipe(bufferBytes, onEnd);
  let held: SeqFrame[] = [];
  let heldBytes = 0;
  /** The last number that was sent; undefined while catching up. */
  let last: number | undefined;

  function abandon(): void {
    held = [];
    pipe.end();
    cut();
  }

  function hold(batch: readonly SeqFrame[]): void {
    if (heldBytes >= bufferBytes) {
      abandon();
      return;
    }
    for (const event of batch) {
      held.push(event);
      heldBytes += event.frame.length;
    }
  }

  function append(batch: readonly SeqFrame[], sent: number): void {
    let seq = sent;
    for (const event of batch) {
      if (event.seq <= seq) continue;
      if (event.seq !== seq + 1) {
        abandon();
        return;
      }
      pipe.queue.push(event.frame);
      seq = event.seq;
    }
    last = seq;
    pipe.flush();
  }

  return {
    body: pipe.body,
    start(missed, seq) {
      if (pipe.isEnded()) return;
      pipe.queue.lead(missed);
      append(held, seq);
      held = [];
    },
    sendRevocations(batch) {
      if (pipe.isEnded()) return;
      if (last === undefined) hold(batch);
      else if (pipe.queue.isFull()) abandon();
      else append(batch, last);
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
