// Charts, drawn as SVG, each with its numbers as a table for those who do not see them.

import { h, s } from './dom.js';
import { word } from './parts.js';

const HEIGHT = 220;
const LEFT = 44;
const BOTTOM = 26;
const TOP = 10;

/** Round numbers up to at least `most`, about four of them. */
function ticks(most) {
  const rough = Math.max(most, 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough));
  const all = [];
  while (all.length < 2 || all.at(-1) < most) all.push(all.length * step);
  return all;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

/**
 * Stacked bars over time: `bars` are `{at_s, counts: {series: number}}`, one each `bucketS` seconds from `fromS` until before `toS`.
 * `series` are the names in the order in which they are stacked, `width` is how much room there is, in pixels.
 */
export function bars({ title, bars: all, series, fromS, toS, bucketS, width: WIDTH }) {
  const begin = Math.floor(fromS / bucketS) * bucketS;
  const slots = Math.max(1, Math.ceil((toS - begin) / bucketS));
  const given = all.filter((bar) => bar.at_s >= begin && bar.at_s < toS);
  const total = (bar) => series.reduce((sum, name) => sum + (bar.counts[name] ?? 0), 0);
  const scale = ticks(Math.max(...given.map(total), 0));
  const most = scale.at(-1);
  const slot = (WIDTH - LEFT) / slots;
  const x = (atS) => LEFT + ((atS - begin) / bucketS) * slot;
  const y = (count) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - count / most);
  const label = (atS) => (toS - fromS > 86_400 ? day : clock).format(new Date(atS * 1_000));
  const every = Math.ceil(slots / Math.max(2, Math.floor(WIDTH / 110)));

  const grid = scale.map((count) => [
    s('line', { x1: LEFT, x2: WIDTH, y1: y(count), y2: y(count), class: 'grid' }),
    s('text', { x: LEFT - 8, y: y(count) + 4, 'text-anchor': 'end' }, String(count)),
  ]);
  const axis = [];
  for (let n = 0; n < slots; n += every) {
    const at = begin + n * bucketS;
    // The last label must not run out of the picture.
    if (x(at) < WIDTH - 70 || n === 0) axis.push(s('text', { x: x(at), y: HEIGHT - 8 }, label(at)));
  }
  const drawn = given.map((bar) => {
    let below = 0;
    return series
      .filter((name) => bar.counts[name] > 0)
      .map((name) => {
        const count = bar.counts[name];
        const top = y(below + count);
        const rect = s(
          'rect',
          { x: x(bar.at_s) + slot * 0.08, y: top, width: Math.max(slot * 0.84, 1), height: Math.max(y(below) - top, 1), class: 'bar', 'data-state': name },
          s('title', {}, `${label(bar.at_s)}: ${count} ${word(name)}`),
        );
        below += count;
        return rect;
      });
  });
  const sums = series.map((name) => [name, given.reduce((sum, bar) => sum + (bar.counts[name] ?? 0), 0)]);
  const told = sums.filter(([, sum]) => sum > 0).map(([name, sum]) => `${sum} ${word(name)}`);
  return h(
    'figure',
    { class: 'chart' },
    s('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, role: 'img', 'aria-label': `${title}: ${told.join(', ') || 'none'}` }, grid, axis, drawn),
    h('figcaption', { class: 'legend' }, sums.filter(([, sum]) => sum > 0).map(([name, sum]) => h('span', { 'data-state': name }, `${word(name)} ${sum}`))),
    table(title, ['From', ...series.map(word)], given.map((bar) => [label(bar.at_s), ...series.map((name) => String(bar.counts[name] ?? 0))])),
  );
}

/** Bars that lie: `rows` are `{label, count, shown, tone}`, `shown` where that is not just the count. The table is the chart: each number stands beside its bar. */
export function ranking(title, rows) {
  const most = Math.max(...rows.map((row) => row.count), 1);
  return h(
    'table',
    { class: 'ranking' },
    h('caption', { class: 'unseen' }, title),
    h('tbody', {}, rows.map((row) =>
      h('tr', {}, h('th', { scope: 'row' }, row.label), h('td', {}, s('svg', { viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': true }, s('rect', { x: 0, y: 0, height: 10, width: Math.max((100 * row.count) / most, 0.5), class: 'bar', 'data-state': row.tone }))), h('td', { class: 'number' }, row.shown || String(row.count))),
    )),
  );
}

function table(title, head, rows) {
  return h(
    'details',
    { class: 'fold' },
    h('summary', {}, 'The same as a table'),
    h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': title }, h('table', {}, h('caption', { class: 'unseen' }, title), h('thead', {}, h('tr', {}, head.map((name) => h('th', { scope: 'col' }, name)))), h('tbody', {}, rows.map(([first, ...rest]) => h('tr', {}, h('th', { scope: 'row' }, first), rest.map((one) => h('td', {}, one))))))),
  );
}
