/** The pages behind `error_uri`: what a refusal means and who can help, for the person who reads the agent's log. */
import { html } from 'hono/html';
import { type HelpTopic, help } from './refusals.ts';

export const isHelpTopic = (text: string): text is HelpTopic => Object.hasOwn(help, text);

export const renderHelp = (topic: HelpTopic) => {
  const { title, what, advice } = help[topic];
  return html`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title} · Writ</title>
<style>
  body { font: 1.05rem/1.6 system-ui, sans-serif; color: #1c2330; background: #f6f7f9; margin: 0; }
  main { max-width: 38rem; margin: 12vh auto; padding: 2.5rem; background: #fff; border-radius: 12px; border: 1px solid #e2e5ea; }
  h1 { font-size: 1.5rem; margin: 0 0 1rem; } code { background: #eef0f4; padding: .15rem .4rem; border-radius: 5px; font-size: .9rem; }
  h2 { font-size: 1rem; margin: 1.6rem 0 .3rem; } p { margin: 0; }
</style></head>
<body><main><code>${topic}</code><h1>${title}</h1><p>${what}</p><h2>What to do</h2><p>${advice}</p></main></body>
</html>`;
};
