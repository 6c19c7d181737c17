// What an event says, in a sentence of our own words and its texts.

import { code, data } from './dom.js';
import { reasonCode, span, time, word } from './parts.js';

const failure = (error) => [reasonCode(error.reason_code), ' ', data(error.reason)];
const because = (reason) => reason && [': ', data(reason)];
const gate = (record) => [reasonCode(record.reason_code), ' ', data(record.reason), !record.blocked && record.decision !== 'allow' && ' (not blocked: shadow mode)'];
const short = (id) => code(String(id).split('.').slice(2).join('.') || id);

/** By type: its tone, its name, and what to say of its data. */
const TOLD = {
  'run.created': ['begin', 'Accepted', (d) => [data(word(d.zone)), ' · ', data(d.lane), d.retry_of && [' · again for ', code(d.retry_of)], d.submission?.title && [' · ', data(d.submission.title)]]],
  'run.started': ['go', 'Taken by a worker', (d, e) => [data(e.actor.actor_id), `, attempt ${d.attempt}`]],
  'run.resumed': ['go', 'Taken up again', (d, e) => [data(e.actor.actor_id), `, attempt ${d.attempt}`, d.takeover && ', from a worker that was lost']],
  'run.suspended': ['wait', 'Parked', (d) => (d.waiting_for.type === 'approval' ? ['until somebody decides, at most until ', time(d.waiting_for.expires_at)] : 'until its agent asks for the next call')],
  'run.completed': ['good', 'Completed', (d) => `${d.succeeded_calls} calls succeeded, ${d.failed_calls} failed`],
  'run.failed': ['bad', 'Failed', (d) => failure(d.error)],
  'run.cancelled': ['end', 'Cancelled', (d) => ['by ', data(d.by), because(d.reason)]],
  'run.rejected': ['bad', 'Rejected', (d) => failure(d.error)],
  'step.created': ['step', 'Step', (d) => [`${d.number} `, d.title && data(d.title)]],
  'step.completed': ['step', 'Step ended', (d) => data(word(d.status))],
  'tool.requested': ['call', 'Call asked for', (d) => [data(d.tool_name), ' ', short(d.tool_call_id)]],
  'tool.invoked': ['call', 'Allowed and begun', (d) => [data(d.tool_name), ' ', short(d.tool_call_id), ' ', reasonCode(d.decision.reason_code)]],
  'tool.succeeded': ['good', 'Call succeeded', (d) => [short(d.tool_call_id), ` after ${span(d.duration_us / 1_000)}`]],
  'tool.failed': ['bad', 'Call failed', (d) => [data(d.tool_name), ' ', short(d.tool_call_id), ' ', failure(d.error)]],
  'policy.denied': ['bad', 'Denied by the gate', (d) => [data(d.tool_name), ' ', gate(d.decision)]],
  'policy.requires_approval': ['wait', 'The gate wants an approval', (d) => [data(d.tool_name), ' ', gate(d.decision)]],
  'quota.exceeded': ['bad', 'Limit reached', (d) => [data(d.quota), `: ${d.limit}, until `, time(d.resets_at)]],
  'approval.requested': ['wait', 'Approval asked for', (d) => [data(d.tool_name), ' until ', time(d.expires_at), d.approvers > 1 && `, by ${d.approvers} people`]],
  'approval.voted': ['wait', 'One said yes', (d) => [data(d.by), `, ${d.missing} more must`, because(d.reason)]],
  'approval.expired': ['bad', 'Nobody decided in time', (d) => short(d.approval_id)],
  'egress.requested': ['call', 'Request to the outside', (d) => [data(d.method), ' ', data(d.url)]],
  'egress.allowed': ['good', 'Request made', (d) => [data(d.host), d.address && [' at ', code(d.address)], d.status ? ` answered ${d.status}` : ' did not answer']],
  'egress.blocked': ['bad', 'Request blocked', (d) => [data(d.host), ' ', failure(d.error)]],
};

/** `{tone, title, told}` of an event. One that is not known, or is not what its type says, is named and not guessed at. */
export function tell(event) {
  if (event.event_type === 'approval.decided') {
    const { approved, by, reason } = event.data;
    return { tone: approved ? 'good' : 'bad', title: approved ? 'Approved' : 'Not approved', told: ['by ', data(by), because(reason)] };
  }
  const known = TOLD[event.event_type];
  try {
    if (known) return { tone: known[0], title: known[1], told: known[2](event.data, event) };
  } catch {
    // An older or newer shape of it.
  }
  return { tone: 'step', title: data(event.event_type), told: '' };
}
