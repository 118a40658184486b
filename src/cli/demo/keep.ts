/** `--keep`: what one needs to play with the demo, and what to try first. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Paint, renderPairs } from '../print.ts';
import { type Crew, firstName } from './cast.ts';
import { crmIdentifier, readIntent, type Stage } from './stage.ts';
import { ticket } from './work.ts';

/** Prints addresses, credentials and commands; the one agent left with an owner is theirs to use. */
export async function explainKept(stage: Stage, crew: Crew, paint: Paint): Promise<void> {
  const { other, stayer, idp, directory } = crew;
  const keyFile = join(stage.folder, `${other.name}.jwk.json`);
  await writeFile(keyFile, `${JSON.stringify(other.key)}\n`, { mode: 0o600 });
  const { page } = stage;
  page.heading('All of it keeps running until Ctrl-C');
  const facts: [string, string][] = [
    ['Writ', stage.issuer],
    ['API reference', `${stage.issuer}/api/docs`],
    ['admin token', stage.adminToken],
    ['CRM API', `${stage.crmUrl}/tickets/${ticket}`],
    [`SCIM (${idp.name})`, directory.scimUrl],
    ['SCIM token', directory.scimToken],
    [`${firstName(stayer)}'s agent`, `${other.name}, ${other.id}`],
    ['its key', keyFile],
    ['logs', stage.folder],
  ];
  page.print(indent(renderPairs(facts, paint)));
  const departure = idp.deactivate(stayer.id);
  page.print(`
  ${paint('bold', 'Try')}, in another terminal, in this folder:

export WRIT_URL=${stage.issuer} WRIT_ADMIN_TOKEN=${stage.adminToken}

${paint('dim', '# 1 every agent, and who is left')}
npx writ agents list

${paint('dim', `# 2 a token for ${other.name}, used at the CRM API`)}
TOKEN=$(npx writ token --raw --client-id ${other.id} --key ${keyFile} \\
  --resource ${crmIdentifier} --intent ${readIntent} --identifier ${ticket})
curl -i ${stage.crmUrl}/tickets/${ticket} -H "Authorization: Bearer $TOKEN"

${paint('dim', `# 3 ${firstName(stayer)} leaves, too, as ${idp.name} says it; then both of 2 are refused`)}
curl -i -X PATCH ${directory.scimUrl}${departure.path} \\
  -H 'Authorization: Bearer ${directory.scimToken}' \\
  -H 'Content-Type: application/scim+json' \\
  -d '${JSON.stringify(departure.body)}'
`);
}

const indent = (text: string): string => text.replace(/^/gm, '    ');
