/** Where the demo plays: Writ and the CRM API in processes of their own, and everything one needs to call them. */
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Client, createClient } from '../client.ts';
import type { Row } from '../json.ts';
import { readRow, readText } from './checks.ts';
import type { Page } from './page.ts';
import { type Running, startProcess } from './processes.ts';

export const crmIdentifier = 'https://crm.example.com';
export const readIntent = 'incident_remediation.ticket_read';
export const writeIntent = 'incident_remediation.ticket_update';
export const environment = 'production';

export interface Stage {
  page: Page;
  /** Holds all that the demo leaves on disk, Writ's data too. */
  folder: string;
  issuer: string;
  crmUrl: string;
  adminToken: string;
  admin: Client;
  /** As `fetch`, until the demo is interrupted. */
  fetch: typeof fetch;
  interrupted: AbortSignal;
}

/** What stands, in the order in which it was put up; closing takes it down. */
export interface Closing {
  add(step: () => Promise<void>): void;
  close(): Promise<void>;
}

export function createClosing(): Closing {
  const steps: (() => Promise<void>)[] = [];
  return {
    add: (step) => void steps.push(step),
    close: async () => {
      for (const step of steps.splice(0).reverse()) await step();
    },
  };
}

export async function setStage(page: Page, closing: Closing, interrupted: AbortSignal): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'writ-demo-'));
  closing.add(() => rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }));
  const fetchUntil: typeof fetch = (input, init) => {
    const signals = init?.signal == null ? [interrupted] : [interrupted, init.signal];
    return fetch(input, { ...init, signal: AbortSignal.any(signals) });
  };

  const writ = await page.step('Writ starts, with a PostgreSQL of its own', async () => {
    const started = await startWrit(folder);
    closing.add(started.stop);
    return started;
  });
  const adminToken = (await readFile(join(folder, 'admin-token'), 'utf8')).trim();
  const admin = createClient({
    url: writ.url,
    token: adminToken,
    tokenSource: folder,
    fetch: fetchUntil,
    trace: () => {},
  });
  const api = await page.step('The CRM API and its two intents are registered', () => registerApi(admin));
  const crm = await page.step('The CRM API starts and follows the feed of revocations', async () => {
    const started = await startCrm(folder, writ.url, readRow(api, 'feedCredentials'));
    closing.add(started.stop);
    return started;
  });
  return { page, folder, issuer: writ.url, crmUrl: crm.url, adminToken, admin, fetch: fetchUntil, interrupted };
}

async function startWrit(folder: string): Promise<Running> {
  // Writ's PostgreSQL may run as another account, which has to pass through.
  await chmod(folder, 0o711);
  return startProcess({
    name: 'Writ',
    module: '../../main',
    logFile: join(folder, 'writ.log'),
    env: (port) => ({
      PORT: String(port),
      WRIT_ISSUER: `http://127.0.0.1:${port}`,
      WRIT_DATA_DIR: folder,
      WRIT_LOG_LEVEL: 'warn',
      WRIT_DEMO_FOLDER: folder,
    }),
    probePath: '/readyz',
  });
}

async function registerApi(admin: Client): Promise<Row> {
  const api = await admin.post('/apis', { identifier: crmIdentifier, name: 'CRM', environment });
  const common = { apis: [crmIdentifier], datatypes: ['ticket'] };
  await admin.post('/intents', {
    ...common,
    taskIntent: readIntent,
    description: 'Read the ticket of an incident',
    actions: ['read'],
    risk: 'read',
  });
  await admin.post('/intents', {
    ...common,
    taskIntent: writeIntent,
    description: 'Update the ticket of an incident',
    actions: ['read', 'update'],
    risk: 'write',
  });
  return api;
}

function startCrm(folder: string, issuer: string, credentials: Row): Promise<Running> {
  return startProcess({
    name: 'The CRM API',
    module: './crm-api',
    logFile: join(folder, 'crm-api.log'),
    env: (port) => ({
      PORT: String(port),
      WRIT_ISSUER: issuer,
      API_IDENTIFIER: crmIdentifier,
      FEED_CLIENT_ID: readText(credentials, 'clientId'),
      FEED_CLIENT_SECRET: readText(credentials, 'clientSecret'),
    }),
    probePath: '/',
  });
}
