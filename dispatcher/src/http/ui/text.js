// Text from strangers, made harmless for the eye: what would be invisible, or would turn the text around, is shown as ⟨U+202E⟩.

// Controls, format characters (bidirectional ones among them), private and unassigned ones, separators, spaces that are not the space,
// fillers and variation selectors; and marks that are piled up more than three high.
const ODD = new RegExp(
  '[\\p{Cc}\\p{Cf}\\p{Co}\\p{Cn}\\p{Cs}\\p{Zl}\\p{Zp}\\u034F\\u115F\\u1160\\u17B4\\u17B5\\u180B-\\u180F\\u2800\\u3164\\uFFA0' +
    '\\uFE00-\\uFE0F\\u{E0100}-\\u{E01EF}]|(?! )\\p{Zs}|(?<=\\p{M}{3})\\p{M}',
  'gu',
);

const LAYOUT = new Set(['\n', '\t']);

const code = (character) => 'U+' + character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0');

/** The nodes that show `text`. Line ends and tabs are kept where `lines` says that the text has lines. */
export function visible(text, lines = false) {
  const nodes = [];
  let begin = 0;
  for (const found of text.matchAll(ODD)) {
    const [character] = found;
    if (lines && LAYOUT.has(character)) continue;
    if (found.index > begin) nodes.push(document.createTextNode(text.slice(begin, found.index)));
    const span = document.createElement('span');
    span.className = 'odd';
    span.title = 'a character that would not be seen';
    span.textContent = `⟨${code(character)}⟩`;
    nodes.push(span);
    begin = found.index + character.length;
  }
  if (begin < text.length) nodes.push(document.createTextNode(text.slice(begin)));
  return nodes;
}

/** The same as a plain string, where only a string will do: in titles and labels. */
export const visibleText = (text) => String(text).replace(ODD, (character) => `⟨${code(character)}⟩`);
