import { type Command, InvalidArgumentError } from 'commander';

/** Examples under a command's help; each is a whole line to copy. */
export function withExamples(command: Command, examples: string[]): Command {
  return command.addHelpText('after', `\nExamples:\n${examples.map((line) => `  $ ${line}`).join('\n')}`);
}

/** Option parser: a whole number of at least `least`. */
export function parseWhole(least: number): (text: string) => number {
  return (text) => {
    if (/^\d{1,9}$/.test(text) && Number(text) >= least) return Number(text);
    throw new InvalidArgumentError(`A whole number of at least ${least} is expected.`);
  };
}

/** Option parser: may be given several times, and may hold several values with commas between. */
export function collect(text: string, before: string[] = []): string[] {
  return [
    ...before,
    ...text
      .split(',')
      .map((each) => each.trim())
      .filter((each) => each !== ''),
  ];
}
