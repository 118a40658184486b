import type { AgentIntent } from '../../protocol.ts';
import { AgentError } from './errors.ts';

export interface Token {
  accessToken: string;
  tokenType: 'Bearer';
  /** Seconds, as the server said when it issued the token. */
  expiresIn: number;
  expiresAt: Date;
  scope?: string;
  /** What was granted; it can be less than what was asked for. */
  authorizationDetails?: readonly AgentIntent[];
  /** Only of an exchange. */
  issuedTokenType?: string;
}

export interface TokenKeeper {
  /** The token that `form` asks for: kept, in flight, or asked for now. */
  get(form: URLSearchParams, how: { fresh?: boolean; signal?: AbortSignal }): Promise<Token>;
}

interface Flight {
  token: Promise<Token>;
  controller: AbortController;
  waiting: number;
}

const maxTokens = 1_000;
/** A kept token is given out until this long before it expires, or until a tenth of its life is left. */
const marginSeconds = 30;

/** Keeps tokens by the exact request, joins equal requests, and stops for good at a final refusal. */
export function createTokenKeeper(options: {
  now: () => Date;
  request: (form: URLSearchParams, signal: AbortSignal) => Promise<Token>;
}): TokenKeeper {
  const kept = createShelf(options.now);
  const flights = new Map<string, Flight>();
  let stopped: AgentError | undefined;

  function stopForGood(error: AgentError): void {
    stopped = error;
    kept.clear();
    for (const flight of flights.values()) flight.controller.abort(error);
  }

  async function fly(request: string, form: URLSearchParams, signal: AbortSignal): Promise<Token> {
    try {
      const token = await options.request(form, signal);
      if (stopped) throw stopped;
      kept.put(request, token);
      return token;
    } catch (error) {
      if (error instanceof AgentError && error.code === 'stopped') {
        if (!stopped) stopForGood(error);
        throw stopped ?? error;
      }
      throw error;
    }
  }

  function launch(request: string, form: URLSearchParams): Flight {
    const controller = new AbortController();
    const token = fly(request, form, controller.signal).finally(() => {
      if (flights.get(request) === flight) flights.delete(request);
    });
    const flight: Flight = { token, controller, waiting: 0 };
    // Whoever waits gets the rejection; when all have given up, nobody does, and that is no fault of the process.
    token.catch(() => undefined);
    flights.set(request, flight);
    return flight;
  }

  async function board(flight: Flight, request: string, signal: AbortSignal | undefined): Promise<Token> {
    flight.waiting += 1;
    try {
      return await (signal ? waitFor(flight.token, signal) : flight.token);
    } finally {
      flight.waiting -= 1;
      if (flight.waiting === 0) {
        // Nobody joins a request that is being given up.
        if (flights.get(request) === flight) flights.delete(request);
        flight.controller.abort();
      }
    }
  }

  return {
    async get(form, { fresh = false, signal }) {
      signal?.throwIfAborted();
      if (stopped) throw stopped;
      const request = form.toString();
      const token = fresh ? undefined : kept.find(request);
      return token ?? board(flights.get(request) ?? launch(request, form), request, signal);
    },
  };
}

/** Tokens that are not about to expire, by the request that got them. Bounded: the oldest leaves first. */
function createShelf(now: () => Date) {
  const tokens = new Map<string, Token>();
  return {
    clear: () => tokens.clear(),
    find(request: string): Token | undefined {
      const token = tokens.get(request);
      if (!token) return undefined;
      const leftSeconds = (token.expiresAt.getTime() - now().getTime()) / 1000;
      // More left than it ever had: the clock was set back, and its word is not good for this token any more.
      if (leftSeconds > Math.min(marginSeconds, token.expiresIn / 10) && leftSeconds <= token.expiresIn) return token;
      tokens.delete(request);
      return undefined;
    },
    put(request: string, token: Token): void {
      tokens.delete(request);
      tokens.set(request, token);
      const [oldest] = tokens.keys();
      if (tokens.size > maxTokens && oldest !== undefined) tokens.delete(oldest);
    },
  };
}

/** The promise, or the signal's reason, whichever comes first. */
async function waitFor<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (abort) signal.removeEventListener('abort', abort);
  }
}
