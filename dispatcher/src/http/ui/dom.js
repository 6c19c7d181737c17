// Building the page. Text is only ever set as text, so there is nothing to escape.

import { visible } from './text.js';

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element with attributes (`onclick` and the like are listeners) and children: elements, and words of our own. */
export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

/** The same for drawings. */
export const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** Text from elsewhere: on its own as to direction, with nothing in it invisible. */
export const data = (text, properties) => h('bdi', { class: 'data', ...properties }, visible(String(text)));

/** The same in a fixed-width font: ids, digests, codes. */
export const code = (text, properties) => h('code', properties, data(text));

/** Text of several lines from elsewhere, to be read to the letter. */
export function exact(text, label) {
  const properties = { class: 'exact', tabindex: 0, role: 'region', 'aria-label': label, dir: 'ltr' };
  return h('pre', properties, visible(text, true));
}

const SEEN = new WeakMap();

/**
 * Makes the children of `parent` those of `items`, in order. What an item shows is built anew only where the item has changed,
 * so that nothing moves under a pointer, and the keyboard's place stays where it is.
 */
export function keyed(parent, items, keyOf, build) {
  const before = new Map([...parent.children].map((child) => [SEEN.get(child)?.key, child]));
  const focused = document.activeElement;
  const wanted = items.map((item) => {
    const key = keyOf(item);
    const sign = JSON.stringify(item);
    const old = before.get(key);
    if (old && SEEN.get(old).sign === sign) return old;
    const fresh = build(item);
    SEEN.set(fresh, { key, sign });
    if (old?.contains(focused)) queueMicrotask(() => (fresh.matches('a, button') ? fresh : fresh.querySelector('a, button'))?.focus());
    return fresh;
  });
  const same = wanted.length === parent.children.length && wanted.every((child, n) => child === parent.children[n]);
  if (!same) parent.replaceChildren(...wanted);
}
