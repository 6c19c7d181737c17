// The policy: the active document, those before it, and what the gate would say of a run.

import { get, me, post } from './api.js';
import { ranking } from './chart.js';
import { code, data, exact, h } from './dom.js';
import { address, facts, heading, notice, pill, problem, reasonCode, time, word } from './parts.js';

const EXAMPLE = '{"input": {"runtime": {"steps": [{"tool_calls": [\n  {"tool": "exec_command", "input": {"argv": ["ls"]}}\n]}]}}}';

export async function show(view, { query, signal }) {
  const active = h('section', { class: 'panel' }, h('h2', {}, 'The active document'));
  const before = h('section', { class: 'panel' }, h('h2', {}, 'Revisions'));
  const shadow = h('section', { class: 'panel' }, h('h2', {}, 'What enforcing would have stopped in the last day'));
  view.append(heading('Policy'), active, explain(signal), shadow, before);
  try {
    const found = await get('policy', {}, signal);
    active.append(facts(['Revision', String(found.revision)], ['Active since', time(found.activated_at)], ['By', data(found.by)], ['Digest', code(found.digest)]), exact(found.document, 'The active document'));
  } catch (error) {
    if (!signal.aborted) active.append(problem(error));
  }
  try {
    const { denials } = await get('overview', { hours: 24 }, signal);
    const recorded = denials.items.filter((one) => !one.blocked);
    shadow.append(
      recorded.length === 0
        ? h('p', { class: 'empty' }, 'Nothing: every refusal was obeyed.')
        : ranking('Refusals that were recorded only', recorded.map((one) => ({ label: [reasonCode(one.reason_code), h('small', {}, ' ', word(one.decision))], count: one.decisions, tone: one.decision === 'deny' ? 'failed' : 'waiting_approval' }))),
    );
  } catch (error) {
    if (!signal.aborted) shadow.append(problem(error));
  }
  const page = await get('policy/revisions', { limit: 20, after: query.get('after') }, signal);
  before.append(
    page.items.length === 0 ? h('p', { class: 'empty' }, 'None.') : h('div', {}, page.items.map(revision)),
    page.next ? h('p', {}, h('a', { class: 'button', href: address(['policy'], { after: page.next }) }, 'Older')) : '',
  );
}

function revision(one) {
  const details = h('details', { class: 'fold' }, h('summary', {}, `Revision ${one.revision} `, pill(one.enforcement_mode), ' ', time(one.activated_at), ' by ', data(one.activated_by)));
  details.addEventListener('toggle', () => details.append(code(one.digest), exact(one.document, `Revision ${one.revision}`)), { once: true });
  return details;
}

/** What the gate would say: nothing is submitted by asking. */
function explain(signal) {
  const run = h('textarea', { id: 'run', rows: 4, spellcheck: 'false', class: 'mono' });
  run.value = EXAMPLE;
  const workspace = h('input', { id: 'explain-workspace', value: me().workspace_id ?? '', readonly: me().workspace_id !== null, autocomplete: 'off', spellcheck: 'false' });
  const button = h('button', { type: 'submit' }, 'Explain');
  const result = h('div', { class: 'result' });
  const form = h(
    'form',
    { class: 'panel' },
    h('h2', {}, 'What would the gate say?'),
    h('label', { for: 'run' }, 'A run as it would be submitted; asking submits nothing'),
    run,
    h('label', { for: 'explain-workspace' }, 'Workspace'),
    workspace,
    h('div', { class: 'buttons' }, button),
    result,
  );
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      result.replaceChildren(...explained(await post('policy/explain', { run: JSON.parse(run.value) }, { workspace: workspace.value.trim() })));
    } catch (error) {
      if (!signal.aborted) result.replaceChildren(error instanceof SyntaxError ? notice('bad', 'This is no JSON: ', data(error.message)) : problem(error));
    }
    button.disabled = false;
  });
  return form;
}

function explained(answer) {
  return answer.calls.map((one) =>
    h(
      'article',
      { class: 'call' },
      h('div', { class: 'card-head' }, h('h3', {}, data(one.tool), ' ', h('small', {}, code(one.call))), h('span', {}, one.blocked ? 'would be blocked' : 'would be made')),
      one.error && h('p', {}, reasonCode(one.error.reason_code), ' ', data(one.error.reason)),
      gate('The call', one.tool_gate),
      gate('Its request to the outside', one.egress_gate),
    ),
  );
}

function gate(name, found) {
  if (!found) return null;
  const { decision, checks } = found;
  return h(
    'div',
    { class: 'decision' },
    h('p', {}, `${name}: `, pill(decision.decision), ' ', reasonCode(decision.reason_code), ' ', data(decision.reason)),
    h(
      'ol',
      { class: 'checks' },
      checks.map((check) =>
        h('li', { 'data-result': check.result }, h('span', { class: 'quiet' }, `${check.number}. `), h('strong', {}, word(check.result)), ' ', code(check.check), ' ', h('span', { class: 'quiet' }, data(check.asks)), check.finding && [h('br'), reasonCode(check.finding.reason_code), ' ', data(check.finding.reason)]),
      ),
    ),
  );
}
