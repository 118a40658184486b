/** The documentation page: what each call takes and answers, with an example to paste into a shell. Pure. */
import { html, raw } from 'hono/html';
import { type Field, listFields, type Schema } from './docs-schema.ts';

type Html = ReturnType<typeof html>;

interface Media {
  schema: Schema;
  example?: unknown;
}
interface Operation {
  operationId: string;
  tags: string[];
  summary: string;
  description?: string;
  parameters?: { name: string; in: string; required?: boolean; schema: Schema }[];
  requestBody?: { required?: boolean; content: Record<string, Media> };
  responses: Record<string, { description: string; content?: Record<string, Media> }>;
}
export interface DocsDocument {
  info: { title: string; description: string };
  servers: { url: string }[];
  tags: { name: string; description: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}
interface Entry {
  method: string;
  path: string;
  operation: Operation;
}

export function renderPage(document: DocsDocument): Html {
  const entries = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): Entry => ({ method, path, operation })),
  );
  const ofTag = (tag: string) => entries.filter(({ operation }) => operation.tags.includes(tag));
  const { info, tags } = document;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${info.title}</title>
<link rel="stylesheet" href="docs/style.css">
</head>
<body>
<a class="skip" href="#main">Skip to the calls</a>
<nav aria-label="Calls">
  <p class="brand"><b>Writ</b> administration API</p>
  ${tags.map(({ name }) => renderMenu(name, ofTag(name)))}
  <p class="brand"><a href="v1/openapi.json">openapi.json</a></p>
</nav>
<main id="main">
  <header>
    <h1>${info.title}</h1>
    <p>${renderText(info.description)}</p>
    <p>Every call carries <code>Authorization: Bearer …</code>. The examples take the token from <code>$WRIT_ADMIN_TOKEN</code>: it is what Writ was started with under that name, or the content of <code>admin-token</code> in its data folder.</p>
    <dl><dt>Base URL</dt><dd><code>${baseOf(document)}</code></dd>
    <dt>For programs</dt><dd><a href="v1/openapi.json">OpenAPI 3.1 document</a></dd></dl>
  </header>
  ${tags.map(
    ({ name, description }) => html`<section aria-labelledby="${name}">
    <h2 id="${name}">${name}</h2>
    <p>${renderText(description)}</p>
    ${ofTag(name).map((entry) => renderCall(entry, document))}
  </section>`,
  )}
</main>
</body>
</html>`;
}

const baseOf = (document: DocsDocument): string => document.servers[0]?.url ?? '';

const renderMenu = (tag: string, entries: Entry[]): Html => html`<h2><a href="#${tag}">${tag}</a></h2>
  <ul>${entries.map(
    ({ method, operation }) =>
      html`<li><a href="#${operation.operationId}"><span class="method ${method}">${method}</span> ${operation.summary}</a></li>`,
  )}</ul>`;

function renderCall(entry: Entry, document: DocsDocument): Html {
  const { method, path, operation } = entry;
  const body = operation.requestBody?.content['application/json'];
  const done = Object.entries(operation.responses).find(([status]) => status.startsWith('2'));
  const content = done?.[1].content ?? {};
  const answer = content['application/json'] ?? content['application/x-ndjson'];
  return html`<article id="${operation.operationId}">
  <h3><a href="#${operation.operationId}"><span class="method ${method}">${method}</span><code>${path}</code></a></h3>
  <div class="columns">
  <div>
    <p><b>${operation.summary}.</b> ${renderText(operation.description ?? '')}</p>
    ${renderTable('Parameters', parametersOf(operation))}
    ${body === undefined ? '' : renderTable('Body', listFields(body.schema, document.components.schemas))}
    <h4>Answers</h4>
    <dl class="answers">${Object.entries(operation.responses).map(
      ([status, { description }]) =>
        html`<dt class="s${status.charAt(0)}">${status}</dt><dd>${renderText(description)}</dd>`,
    )}</dl>
    ${
      answer === undefined
        ? ''
        : html`<details><summary>Members of the answer</summary>${renderTable('', listFields(answer.schema, document.components.schemas), { isAnswer: true })}</details>`
    }
  </div>
  <div>
    <h4>Request</h4>
    <pre tabindex="0"><code>${renderCurl(entry, baseOf(document), body?.example)}</code></pre>
    <h4>Answer ${done?.[0] ?? ''}</h4>
    <pre tabindex="0"><code>${renderJson(answer?.example)}</code></pre>
  </div>
  </div>
</article>`;
}

const parametersOf = (operation: Operation): Field[] =>
  (operation.parameters ?? []).flatMap(({ name, required, schema }) =>
    listFields({ properties: { [name]: schema }, required: required === true ? [name] : [] }, {}),
  );

/** Callers have to know what they must send, and what an answer may lack. */
function renderTable(title: string, fields: Field[], { isAnswer = false } = {}): Html | '' {
  if (fields.length === 0) return '';
  return html`${title === '' ? '' : html`<h4>${title}</h4>`}
    <table><tbody>${fields.map(
      (field) => html`<tr>
      <th scope="row" class="d${field.depth}"><code>${field.name}</code>${noteOf(field, isAnswer)}</th>
      <td><span class="type">${field.type}</span>${field.bounds === '' ? '' : html` <span class="bounds">${field.bounds}</span>`}
      ${field.description === '' ? '' : html`<p>${renderText(field.description)}</p>`}</td></tr>`,
    )}</tbody></table>`;
}

const noteOf = ({ required }: Field, isAnswer: boolean): Html | '' => {
  if (required === isAnswer) return '';
  return isAnswer ? html`<em class="soft">not always</em>` : html`<em>required</em>`;
};

function renderCurl({ method, path, operation }: Entry, base: string, example: unknown): Html {
  const parameter = operation.parameters?.find((each) => each.in === 'path');
  const target = path.replace(/\{\w+\}/, String(parameter?.schema.example ?? ''));
  const lines = [
    method === 'get' ? `curl ${base}${target}` : `curl -X ${method.toUpperCase()} ${base}${target}`,
    `-H "Authorization: Bearer $WRIT_ADMIN_TOKEN"`,
  ];
  if (example !== undefined) {
    const json = JSON.stringify(example, null, 2).replaceAll("'", "'\\''");
    lines.push(`-H 'Content-Type: application/json'`, `-d '${json}'`);
  }
  return html`${lines.join(' \\\n  ')}`;
}

const escapeHtml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** JSON with its member names and strings marked. */
function renderJson(value: unknown): Html {
  const text = escapeHtml(JSON.stringify(value, null, 2) ?? '');
  const marked = text.replace(/("(?:[^"\\]|\\.)*")(:?)/g, (_all, string: string, colon: string) =>
    colon === '' ? `<i class="string">${string}</i>` : `<i class="name">${string}</i>:`,
  );
  return html`${raw(marked)}`;
}

/** Text of the document: `code` in backticks, nothing else. */
const renderText = (text: string): Html =>
  html`${raw(escapeHtml(text).replace(/`([^`]+)`/g, (_all, code: string) => `<code>${code}</code>`))}`;
