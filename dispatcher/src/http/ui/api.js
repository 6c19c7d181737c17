// Speaking to the API with the key that was typed in. The key stays in this tab (sessionStorage) and goes nowhere but to this server.

import { parse } from './json.js';

const KEY = 'gatewright.key';

/** What the server refused, or that it did not answer. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? document.title ?? 'the server gave no reason');
    this.status = status;
    this.code = document.reason_code;
    this.violations = document.violations ?? [];
  }
}

let own = null;

/** What the key is good for: `{name, roles, workspace_id}`; null while nobody is signed in. */
export const me = () => own;

/** Whether the key has the role, or may do everything. */
export const may = (role) => own !== null && (own.roles.includes(role) || own.roles.includes('admin'));

/** Signs in; throws a Problem where the key opens nothing. */
export async function signIn(key) {
  sessionStorage.setItem(KEY, key);
  try {
    own = await get('key');
  } catch (problem) {
    if (problem.status === 401) signOut();
    throw problem;
  }
}

/** Takes up what this tab was signed in with, if it was. */
export async function resume() {
  const key = sessionStorage.getItem(KEY);
  if (key !== null) await signIn(key);
  return own !== null;
}

export function signOut() {
  sessionStorage.removeItem(KEY);
  own = null;
}

/** One request below `/v1/`; answers with the response, whose status is good. */
export async function request(path, { query = {}, body, headers = {}, signal } = {}) {
  const url = new URL(`v1/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== '') url.searchParams.set(name, value);
  }
  const options = {
    method: body === undefined ? 'GET' : 'POST',
    headers: { ...headers, authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ''}` },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    credentials: 'omit',
  };
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    if (error instanceof TypeError && /headers/i.test(error.message)) {
      throw new Problem(401, { detail: 'a key has no such characters in it' });
    }
    throw new Problem(0, { detail: 'the server does not answer' });
  }
  if (response.ok) return response;
  const text = await response.text();
  let told = { detail: text.slice(0, 500) || response.statusText };
  try {
    told = parse(text);
  } catch {
    // Some proxy answered.
  }
  const problem = new Problem(response.status, told);
  if (problem.status === 401) window.dispatchEvent(new CustomEvent('gatewright:signed-out', { detail: problem }));
  throw problem;
}

/** What stands at a path below `/v1/`. */
export async function get(path, query, signal) {
  const response = await request(path, { query, signal });
  return parse(await response.text());
}

/** Asks for something to be done. */
export async function post(path, body, query) {
  const response = await request(path, { body, query });
  return parse(await response.text());
}

/** An id as a part of a path. */
export const part = (id) => encodeURIComponent(id);
