import { usage } from './failure.ts';

const unitsMs: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/**
 * An instant from what people type: ISO 8601 with a time zone, a date (midnight UTC), or a span such as `90d`, `12h`,
 * `30m`, counted forwards or backwards from `now`. Answers ISO 8601 in UTC.
 */
export function parseInstant(text: string, now: Date, direction: 'ahead' | 'ago'): string {
  const span = /^(\d{1,6})([smhdw])$/.exec(text);
  if (span !== null) {
    const ms = Number(span[1]) * (unitsMs[span[2] ?? ''] ?? Number.NaN);
    return new Date(now.getTime() + (direction === 'ahead' ? ms : -ms)).toISOString();
  }
  const isInstant = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(text);
  const at = new Date(isInstant ? text : Number.NaN);
  if (Number.isNaN(at.getTime())) {
    throw usage(`"${text}" is no instant: write 2027-01-31, 2027-01-31T12:00:00Z, or a span such as 90d, 12h, 30m.`);
  }
  return at.toISOString();
}

/** A span for people: `43 ms`, `1.2 s`, `4 min 58 s`, `3 h 5 min`, `12 d 4 h`. */
export function describeSpan(ms: number): string {
  const span = Math.abs(ms);
  if (span < 1_000) return `${Math.round(span)} ms`;
  const seconds = span / 1_000;
  if (seconds < 60) return `${Number(seconds.toFixed(span % 1_000 === 0 ? 0 : 1))} s`;
  const pair = (big: number, bigUnit: string, small: number, smallUnit: string) =>
    small === 0 ? `${big} ${bigUnit}` : `${big} ${bigUnit} ${small} ${smallUnit}`;
  const whole = Math.floor(seconds);
  if (whole < 3_600) return pair(Math.floor(whole / 60), 'min', whole % 60, 's');
  if (whole < 86_400) return pair(Math.floor(whole / 3_600), 'h', Math.floor((whole % 3_600) / 60), 'min');
  return pair(Math.floor(whole / 86_400), 'd', Math.floor((whole % 86_400) / 3_600), 'h');
}
