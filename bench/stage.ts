/** What every part is given. */
import type { Postgres } from './database.ts';
import type { Cores } from './machine.ts';
import type { Pace } from './measure.ts';
import type { Server } from './processes.ts';

export interface Bench {
  cores: Cores;
  /** A temporary folder, for logs. */
  folder: string;
  postgres: Postgres;
  pace: Pace;
  quick: boolean;
  /** A part of the tokens' part, or of the memory's. */
  only: { kind?: string; target?: string; count?: number };
  /** Has the server stopped when its part is done. */
  keep(starting: Promise<Server>): Promise<Server>;
  progress(text: string): void;
}
