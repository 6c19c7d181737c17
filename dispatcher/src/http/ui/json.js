// JSON, read so that nothing of it is lost: numbers that JavaScript cannot hold, or would write in another way, stay as they were written.
// Whoever approves a call must see the very number that it will be made with.

/** A number as it was written. */
export class Numeral {
  constructor(text) {
    this.text = text;
  }
  toString() {
    return this.text;
  }
  toJSON() {
    return this.text;
  }
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y;
const STRING = /"[^"\\]*(?:\\.[^"\\]*)*"/y;
const SPACE = /[ \t\n\r]*/y;
const WORDS = { true: true, false: false, null: null };

/** Reads a document; throws a SyntaxError where it is none. */
export function parse(text) {
  let at = 0;
  const fail = () => {
    throw new SyntaxError(`this is no JSON, at character ${at}`);
  };
  const take = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (!found) fail();
    at = pattern.lastIndex;
    return found[0];
  };
  const sign = (wanted) => {
    take(SPACE);
    if (text[at] !== wanted) return false;
    at += 1;
    return true;
  };
  const expect = (wanted) => sign(wanted) || fail();
  const items = (end, item) => {
    if (sign(end)) return;
    do item();
    while (sign(','));
    expect(end);
  };
  const string = () => {
    take(SPACE);
    return JSON.parse(take(STRING));
  };
  const value = () => {
    take(SPACE);
    switch (text[at]) {
      case '{': {
        at += 1;
        const object = Object.create(null);
        items('}', () => {
          const name = string();
          expect(':');
          object[name] = value();
        });
        return object;
      }
      case '[': {
        at += 1;
        const list = [];
        items(']', () => list.push(value()));
        return list;
      }
      case '"':
        return string();
    }
    for (const word in WORDS) {
      if (text.startsWith(word, at)) {
        at += word.length;
        return WORDS[word];
      }
    }
    const written = take(NUMBER);
    const number = Number(written);
    return String(number) === written ? number : new Numeral(written);
  };
  const document = value();
  take(SPACE);
  if (at < text.length) fail();
  return document;
}

/** Writes a document for people: indented, one item a line. */
export function print(value, indent = '') {
  const inner = indent + '  ';
  const list = (open, parts, close) =>
    parts.length === 0 ? open + close : `${open}\n${parts.map((part) => inner + part).join(',\n')}\n${indent}${close}`;
  if (Array.isArray(value)) return list('[', value.map((item) => print(item, inner)), ']');
  if (value instanceof Numeral) return value.text;
  if (value !== null && typeof value === 'object') {
    return list('{', Object.keys(value).map((name) => `${JSON.stringify(name)}: ${print(value[name], inner)}`), '}');
  }
  return JSON.stringify(value) ?? 'null';
}
