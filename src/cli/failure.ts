/** How a command ends. The table is part of the interface: scripts branch on it, `writ --help` prints it. */
export const exitCodes = {
  ok: 0,
  refused: 1,
  usage: 2,
  forbidden: 3,
  notFound: 4,
  unavailable: 5,
  verificationFailed: 6,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export const exitCodeMeanings: Record<ExitCode, string> = {
  0: 'done',
  1: 'the server refused the request (4xx), or the command itself failed',
  2: 'wrong usage: arguments, options, files or settings',
  3: 'not authenticated, or not allowed',
  4: 'not found',
  5: 'the server cannot be reached, or cannot answer (5xx)',
  6: 'verification failed (audit verify, receipt verify)',
};

/** The one error a command throws on purpose: one sentence for a person that says what to do next, and the exit code. */
export class CliFailure extends Error {
  override readonly name = 'CliFailure';
  readonly exitCode: ExitCode;
  /** Whether the request may have taken effect although it failed: the answer was lost, or was a 5xx. */
  readonly outcomeUnknown: boolean;

  constructor(exitCode: ExitCode, message: string, options: { cause?: unknown; outcomeUnknown?: boolean } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.exitCode = exitCode;
    this.outcomeUnknown = options.outcomeUnknown ?? false;
  }
}

export const usage = (message: string): CliFailure => new CliFailure(exitCodes.usage, message);
export const notFound = (message: string): CliFailure => new CliFailure(exitCodes.notFound, message);
