// What changes while one looks at it.

import { request } from './api.js';

/** Waits; earlier when `signal` says that nobody waits any more. */
export const sleep = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });

const shown = (signal) =>
  new Promise((resolve) => {
    if (!document.hidden || signal.aborted) return resolve();
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener('visibilitychange', look);
      resolve();
    };
    document.addEventListener('visibilitychange', look);
    signal.addEventListener('abort', look);
  });

/** Does something now and every `ms` until `signal`; not while nobody can see it, nor while `isPaused`. It is told of a failure and goes on. */
export async function every(ms, signal, work, { failed, isPaused = () => false } = {}) {
  for (let first = true; !signal.aborted; first = false) {
    if (first || !isPaused()) {
      try {
        await work();
        failed?.(null);
      } catch (problem) {
        if (signal.aborted || problem.name === 'AbortError') return;
        failed?.(problem);
      }
    }
    await sleep(ms, signal);
    await shown(signal);
  }
}

/**
 * Follows a run's events after the one with the id `after`, and comes again wherever the tail breaks off, until the run has ended.
 * `told` is given one event after the other; `state` is told `following`, `lost` (with why) and `ended`.
 */
export async function follow(path, { query, after, signal, told, state }) {
  let last = after;
  for (let failures = 0; !signal.aborted; ) {
    try {
      const headers = last ? { 'last-event-id': last } : {};
      const response = await request(path, { query, headers, signal });
      if (response.status === 204) return state('ended');
      state('following');
      failures = 0;
      for await (const event of events(response.body)) {
        last = event.id;
        told(event.data);
      }
    } catch (problem) {
      if (signal.aborted || problem.name === 'AbortError') return;
      failures += 1;
      state('lost', problem);
    }
    await sleep(Math.min(500 * 2 ** failures, 15_000), signal);
  }
}

/** Server-sent events, one after the other. The browser's own reader cannot carry a key. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = block.split('\n').map((line) => [line.split(':', 1)[0], line.slice(line.indexOf(':') + 1).trimStart()]);
      const of = (name) => fields.filter(([field]) => field === name).map(([, text]) => text);
      if (of('data').length > 0) yield { id: of('id').at(-1), data: of('data').join('\n') };
    }
  }
}
