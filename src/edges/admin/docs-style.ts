/** Looks of the documentation page; light and dark as the reader's system has it. */
export const stylesheet = `
:root {
  --ink: #1c2330; --soft: #5b6576; --line: #e3e7ee; --paper: #fff; --side: #f6f8fb; --code: #f3f5f9;
  --accent: #2f5bd8; --get: #1f7a4d; --post: #2f5bd8; --patch: #a35a00; --bad: #b3261e; --string: #1f7a4d;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e8f0; --soft: #9aa5b8; --line: #2a3242; --paper: #12161f; --side: #171c27; --code: #1b212e;
    --accent: #8fb0ff; --get: #6fd3a0; --post: #8fb0ff; --patch: #f0b35e; --bad: #ff8a80; --string: #8fd6ae;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body {
  margin: 0; display: grid; grid-template-columns: 17rem minmax(0, 1fr); background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
a:focus-visible, summary:focus-visible, pre:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--paper); padding: .5rem 1rem; z-index: 1; }
code, pre { font: .87em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
p code, dd code, td code { background: var(--code); border-radius: 3px; padding: .1em .3em; }
nav {
  position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 1.25rem 1rem 2rem; background: var(--side);
  border-right: 1px solid var(--line); font-size: 13px;
}
nav h2 { margin: 1.1rem 0 .25rem; font-size: 11px; letter-spacing: .07em; text-transform: uppercase; }
nav h2 a { color: var(--soft); }
nav ul { list-style: none; margin: 0; padding: 0; }
nav li a { display: flex; gap: .5rem; padding: .17rem .3rem; border-radius: 4px; color: var(--ink); }
nav li a:hover { background: var(--line); text-decoration: none; }
nav .method { flex: 0 0 2.9rem; font-size: 10px; line-height: 20px; }
.brand { margin: 0 0 .5rem; font-size: 14px; }
ul + .brand { margin-top: 1.25rem; font-size: 13px; }
.method { font-weight: 700; text-transform: uppercase; letter-spacing: .03em; }
.method.get { color: var(--get); } .method.post { color: var(--post); } .method.put, .method.patch { color: var(--patch); }
main { padding: 2.25rem clamp(1rem, 4vw, 3.5rem) 6rem; max-width: 92rem; }
header { max-width: 50rem; }
h1 { margin: 0 0 .5rem; font-size: 1.9rem; letter-spacing: -.02em; line-height: 1.2; }
section > h2 { margin: 3.5rem 0 0; font-size: 1.4rem; letter-spacing: -.01em; }
section > p { margin: .25rem 0 0; color: var(--soft); }
article { margin-top: 1.5rem; padding-top: 1.25rem; border-top: 1px solid var(--line); }
h3 { margin: 0 0 .25rem; font-size: 1rem; }
h3 a { color: inherit; display: flex; gap: .75rem; align-items: baseline; }
h3 code { font-size: 1rem; overflow-wrap: anywhere; }
h4 { margin: 1.25rem 0 .4rem; font-size: 11px; letter-spacing: .07em; text-transform: uppercase; color: var(--soft); }
.columns { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 30rem); gap: 0 2.5rem; }
.columns > div { min-width: 0; }
pre {
  margin: 0; padding: .85rem 1rem; overflow: auto; max-height: 26rem; background: var(--code);
  border: 1px solid var(--line); border-radius: 6px;
}
pre i { font-style: normal; } pre .name { color: var(--accent); } pre .string { color: var(--string); }
table { width: 100%; border-collapse: collapse; table-layout: fixed; }
th, td { padding: .45rem .5rem .45rem 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top; }
tr:first-child > * { border-top: 0; }
th { width: 13rem; font-weight: 600; overflow-wrap: anywhere; }
th em { display: block; font: 500 11px/1.4 system-ui, sans-serif; color: var(--bad); }
th em.soft { color: var(--soft); }
th.d1 { padding-left: 1.1rem; } th.d2 { padding-left: 2.2rem; } th.d3 { padding-left: 3.3rem; } th.d4 { padding-left: 4.4rem; }
td p { margin: .1rem 0 0; color: var(--soft); font-size: .93em; }
.type { overflow-wrap: anywhere; } .bounds { color: var(--soft); font-size: .9em; }
.bounds::before { content: "· "; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; }
dd { margin: 0; }
.answers { font-size: .93em; } .answers dt { font-weight: 700; color: var(--bad); } .answers dt.s2 { color: var(--get); }
.answers dd { color: var(--soft); }
details { margin-top: 1rem; } summary { cursor: pointer; color: var(--accent); }
@media (max-width: 75rem) { .columns { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 50rem) { body { display: block; } nav { position: static; height: auto; max-height: 40vh; } }
`;
