/**
 * Mends the first message of a connection. postgres.js collects what it writes until the end of the turn; when the
 * connection closes within the turn, it neither sends nor forgets it, and never sends by itself again: the next connection
 * hangs until a kilobyte has gathered, and begins with the remains of statements whose callers were told they failed.
 *
 * A startup message of more than a kilobyte is sent at once and puts the driver in order; here its padding, and
 * whatever old bytes stand before it, are taken away again.
 */
const name = 'writ.padding';

/** A parameter for the driver's `connection` option. The server never sees it. */
export const startupPadding = { [name]: 'x'.repeat(1024) };

const parameter = Buffer.from(`${name}\0${startupPadding[name]}\0`);
/** Protocol 3.0 (PostgreSQL manual §54.7, StartupMessage): length, version, names and values, a zero. */
const version = Buffer.from([0, 3, 0, 0]);

/** `bytes` is what the driver writes first; anything but a padded startup message at its end is returned as it is. */
export function mendStartup(bytes: Buffer): Buffer {
  const paddingAt = bytes.lastIndexOf(parameter);
  const versionAt = bytes.lastIndexOf(version, paddingAt);
  const startsAt = versionAt - 4;
  if (paddingAt < 0 || startsAt < 0 || startsAt + bytes.readUInt32BE(startsAt) !== bytes.length) return bytes;
  const mended = Buffer.concat([bytes.subarray(startsAt, paddingAt), bytes.subarray(paddingAt + parameter.length)]);
  mended.writeUInt32BE(mended.length);
  return mended;
}
