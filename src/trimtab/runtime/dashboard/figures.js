// Draws each kind of figure into its card. Every text is set as text.

import { format, shown, since } from "./numbers.js";

const COLOURS = 6; // of live.css
const DASHES = ["", "7 4", "2 3", "10 3 2 3", "4 2", "1 4"]; // lines differ by these, too
const LEAST_S = 60; // that the time axis shows
const EDGE = { left: 58, right: 10, top: 8, bottom: 22 };
const NS = "http://www.w3.org/2000/svg";
const ROWS = 12; // of the numbers of a figure
export const HEIGHT = 170;

// Elements

export const make = (tag, name, ...children) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children);
  return made;
};
export const draw = (tag, attributes, ...children) => {
  const made = document.createElementNS(NS, tag);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
};
const colourOf = (index) => `c${index % COLOURS}`;
const dashOf = (index) => DASHES[index % DASHES.length];
const swatch = (index) => make("span", `swatch ${colourOf(index)}`);
const sample = (name, dash) =>
  draw("svg", { "aria-hidden": "true" },
    draw("line", { class: name, "stroke-dasharray": dash, x1: 0, x2: 26, y1: 6, y2: 6 }));
const grid = (columns, rows) =>
  make("table", "",
    make("thead", "", make("tr", "", ...columns.map(([text, number]) => {
      const cell = make("th", number ? "number" : "", text);
      cell.scope = "col";
      return cell;
    }))),
    make("tbody", "", ...rows.map((row) =>
      make("tr", "", ...row.map((text, at) => make("td", columns[at][1] ? "number" : "", text))))));

// Axes

const ticks = (most, unit) => {
  if (!(most > 0)) return [0];
  const bases = unit === "bytes" ? 2 : 10;
  const rough = most / 3;
  const power = bases ** Math.floor(Math.log(rough) / Math.log(bases));
  let step =
    bases === 2 ? power * 2 : [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  if (unit === "count") step = Math.max(1, step);
  const found = [];
  for (let at = 0; at <= most * 1.0001; at += step) found.push(at);
  return found;
};
const tickText = (value, unit) =>
  value === 0 ? "0" : format(value, unit).replace(/\.0+(?= |$)|(\.\d*?[1-9])0+(?= |$)/, "$1");
const ago = (seconds) => {
  if (seconds === 0) return "now";
  return seconds < 60 ? `−${seconds} s` : `−${seconds / 60} min`;
};
const timeAxis = (first, width, height) => {
  const span = Math.max(LEAST_S, -first);
  const room = width - EDGE.left - EDGE.right;
  const x = (when) => EDGE.left + room * (1 + when / span);
  const steps = (span > 60 ? [15, 30, 60, 120, 300] : [10, 15, 30, 60])
    .filter((each) => room / (span / each) >= 62);
  const step = steps[0] || span;
  const marks = [];
  for (let back = 0; back <= span; back += step) {
    const last = back + step > span && x(-back) < EDGE.left + 20;
    marks.push(
      draw("text", {
        x: x(-back), y: height - 6,
        "text-anchor": back === 0 ? "end" : last ? "start" : "middle",
      }, ago(back))
    );
  }
  return { x, marks, when: (at) => ((at - EDGE.left) / room - 1) * span };
};

// Figures: each keeps its card, and fills it anew.

const totals = (figure) =>
  figure.times_s.map((_, at) =>
    figure.lines.reduce((sum, [, values]) => sum + (values[at] ?? 0), 0)
  );

const pathOf = (figure, values, x, y) => {
  let path = "";
  let pen = false;
  values.forEach((value, at) => {
    if (value === null || value === undefined || (figure.log && value <= 0)) {
      pen = false;
      return;
    }
    path += `${pen ? "L" : "M"}${x(figure.times_s[at]).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = true;
  });
  return path;
};

const trend = (card, figure) => {
  const { svg, legend } = card.parts;
  const width = svg.clientWidth || 400;
  const { times_s: times, unit, target } = figure;
  const axis = timeAxis(times[0] ?? 0, width, HEIGHT);
  const at =
    card.pointer === null || !times.length
      ? times.length - 1
      : times.reduce((best, when, index) =>
          Math.abs(axis.x(when) - card.pointer) <
          Math.abs(axis.x(times[best]) - card.pointer) ? index : best, 0);
  card.axis = axis;
  card.at = at;
  legend.replaceChildren(
    ...figure.lines.map(([name, values], index) => {
      const key = figure.stacked
        ? swatch(index)
        : sample(`line ${colourOf(index)}`, dashOf(index));
      return make("li", "", key, `${name} `, make("b", "", shown(values[at], unit)));
    }),
    ...(target
      ? [make("li", "", sample("target", ""), `${target.name} `,
          make("b", "", shown(target.value, unit)))]
      : [])
  );
  const values = figure.stacked
    ? totals(figure)
    : figure.lines.flatMap(([, each]) => each.filter((value) => value !== null));
  const seen = values.concat(target ? [target.value] : []).filter((each) => each > 0);
  const most = seen.length ? Math.max(...seen) * (figure.log ? 1.6 : 1.08) : 1;
  const low = figure.log ? Math.min(...seen, most / 10) / 1.6 : 0;
  const room = HEIGHT - EDGE.top - EDGE.bottom;
  const share = figure.log
    ? (value) => Math.log(value / low) / Math.log(most / low)
    : (value) => value / most;
  const y = (value) => EDGE.top + room * (1 - share(value));
  let levels = seen.length ? ticks(most, unit) : figure.log ? [] : [0];
  if (figure.log && seen.length) {
    const tens = Math.ceil(Math.log10(low));
    const every = Math.ceil(Math.log10(most / low) / 4);
    const fine = most / low < 200 ? [1, 2, 5] : [1];
    levels = [];
    for (let power = tens - 1; 10 ** power <= most; power += every) {
      levels.push(...fine.map((each) => each * 10 ** power));
    }
    levels = levels.filter((level) => level >= low && level <= most);
  }
  const drawn = levels.flatMap((level) => [
    draw("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(level), y2: y(level) }),
    draw("text", { x: EDGE.left - 7, y: y(level) + 4, "text-anchor": "end" }, tickText(level, unit)),
  ]);
  if (figure.stacked) {
    const below = times.map(() => 0);
    figure.lines.forEach(([, each], index) => {
      const lower = times.map((when, place) => `${axis.x(when).toFixed(1)} ${y(below[place]).toFixed(1)}`);
      each.forEach((value, place) => { below[place] += value ?? 0; });
      const upper = times.map((when, place) => `${axis.x(when).toFixed(1)} ${y(below[place]).toFixed(1)}`);
      if (!times.length) return;
      const path = `M${upper.join("L")}L${lower.reverse().join("L")}Z`;
      drawn.push(draw("path", { d: path, class: `area ${colourOf(index)}` }));
    });
  } else {
    figure.lines.forEach(([, each], index) => {
      drawn.push(draw("path", {
        d: pathOf(figure, each, axis.x, y), class: `line ${colourOf(index)}`,
        "stroke-dasharray": dashOf(index),
      }));
    });
  }
  if (target) {
    const level = y(target.value);
    drawn.push(
      draw("line", { class: "target", x1: EDGE.left, x2: width - EDGE.right, y1: level, y2: level })
    );
  }
  if (card.pointer !== null && times.length) {
    const cursor = axis.x(times[at]);
    drawn.push(draw("line", { class: "cursor", x1: cursor, x2: cursor, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
  }
  if (!values.some((value) => value !== null && value > 0)) {
    drawn.push(draw("text", {
      class: "empty", x: (EDGE.left + width - EDGE.right) / 2, y: EDGE.top + room / 2,
      "text-anchor": "middle",
    }, figure.lines.some(([, each]) => each.some((value) => value !== null))
      ? "" : "Nothing yet."));
  }
  svg.setAttribute("aria-label", `${figure.title}, the last minutes; arrow keys go back`);
  svg.replaceChildren(...drawn, ...axis.marks);
};

const strip = (card, figure) => {
  const { svg, legend } = card.parts;
  const width = svg.clientWidth || 400;
  const { spans } = figure;
  const axis = timeAxis(spans.length ? spans[0].begin_s : 0, width, card.height);
  const drawn = spans.flatMap(({ name, begin_s: begin, end_s: end, colour }) => {
    const left = axis.x(begin);
    const wide = Math.max(0.75, axis.x(end) - left);
    const box = draw("rect", { x: left, y: 4, width: wide, height: 26, class: `span ${colourOf(colour)}` },
      draw("title", {}, `${name}, ${shown(end - begin, "s")}`));
    if (wide < 7 * name.length + 12) return [box];
    return [box, draw("text", { class: `span-name ${colourOf(colour)}`, x: left + 7, y: 21 }, name)];
  });
  const lasted = new Map();
  let all = 0;
  spans.forEach((span) => {
    const each = lasted.get(span.name) || { colour: span.colour, time: 0 };
    each.time += span.end_s - span.begin_s;
    all += span.end_s - span.begin_s;
    lasted.set(span.name, each);
  });
  legend.replaceChildren(
    ...Array.from(lasted, ([name, { colour, time }]) =>
      make("li", "", swatch(colour), `${name} `,
        make("b", "", format(all ? time / all : 0, "frac")))
    )
  );
  if (!spans.length) legend.replaceChildren(make("li", "empty", "Nothing yet."));
  svg.setAttribute("aria-label", `${figure.title}, the last minutes`);
  svg.replaceChildren(...drawn, ...axis.marks);
};

const bars = (card, figure) => {
  const { body, legend } = card.parts;
  const sums = figure.labels.map((_, at) =>
    figure.parts.reduce((sum, [, values]) => sum + (values[at] ?? 0), 0)
  );
  const most = Math.max(...sums, 1e-12);
  legend.replaceChildren(
    ...figure.parts.map(([name], index) => make("li", "", swatch(index), name))
  );
  body.replaceChildren(
    ...figure.labels.map((label, at) => {
      const track = make("div", "track");
      figure.parts.forEach(([, values], index) => {
        const part = make("span", colourOf(index));
        part.style.width = `${(100 * (values[at] ?? 0)) / most}%`;
        track.append(part);
      });
      const total = make("span", "total", shown(sums[at], figure.value_unit));
      return make("div", "bar", make("span", "label", label), track, total);
    })
  );
};

const table = (card, figure) => {
  const text = JSON.stringify(figure);
  if (text === card.drawn) return; // what is selected in it stays
  card.drawn = text;
  const columns = figure.columns.map((name, at) => [name, figure.units[at] !== ""]);
  const rows = figure.rows.map((row) =>
    row.map((value, column) => {
      const unit = figure.units[column];
      return String(unit && typeof value === "number" ? format(value, unit) : value ?? "");
    }));
  const box = card.parts.body;
  const left = box.scrollLeft;
  box.replaceChildren(rows.length ? grid(columns, rows) : make("p", "empty", "Nothing yet."));
  box.scrollLeft = left;
};

const log = (card, figure) => {
  const { body } = card.parts;
  const text = JSON.stringify(figure.entries.map((each) => ({ ...each, when_s: 0 })));
  if (text !== card.drawn) {
    card.drawn = text;
    body.replaceChildren(
      ...figure.entries.map((each) => {
        const what = make("span", "what", each.what);
        if (each.tone !== "plain") what.prepend(make("span", `tag ${each.tone}`), " ");
        if (each.times > 1) what.append(" ", make("span", "tag", `${each.times} times`));
        const when = make("time");
        const clock = new Date(Date.now() + 1000 * each.when_s);
        when.dateTime = clock.toISOString();
        when.dataset.clock = clock.toLocaleTimeString();
        return make("li", "", when, what, make("span", "why", each.why));
      })
    );
    if (!figure.entries.length) body.append(make("li", "empty", "Nothing yet."));
  }
  body.querySelectorAll("time").forEach((when, at) => {
    when.textContent = `${when.dataset.clock}, ${since(-figure.entries[at].when_s)} ago`;
  });
};

const tile = (each) => {
  const text = shown(each.value, each.unit);
  const space = text.indexOf(" ");
  const value =
    space < 0
      ? make("div", "value", text)
      : make("div", "value", text.slice(0, space), make("small", "", text.slice(space + 1)));
  const made = make("div", `tile ${each.tone}`, make("div", "name", each.name), value);
  if (each.note) made.append(make("div", "note", each.note));
  if (each.value !== null) made.title = `${each.name}: ${each.value} ${each.unit}`;
  return made;
};
const group = (card, figure) => card.parts.body.replaceChildren(...figure.tiles.map(tile));

// The same as numbers, for whoever does not see figures: made while it is open.

export const numbers = {
  trend: ({ times_s: times, lines, unit }) => {
    const step = Math.max(1, Math.ceil(times.length / ROWS));
    const rows = [];
    for (let at = times.length - 1; at >= 0; at -= step) {
      const values = lines.map(([, each]) => shown(each[at], unit));
      rows.push([`${since(-times[at])} ago`, ...values]);
    }
    return grid([["when", false], ...lines.map(([name]) => [name, true])], rows);
  },
  strip: ({ spans }) =>
    grid([["what", false], ["since", true], ["lasted", true]],
      spans.slice(-ROWS).reverse().map(({ name, begin_s: begin, end_s: end }) =>
        [name, `${since(-begin)} ago`, shown(end - begin, "s")])),
  bars: ({ labels, parts, value_unit: unit }) =>
    grid([["", false], ...parts.map(([name]) => [name, true])],
      labels.map((label, at) => [label, ...parts.map(([, values]) => shown(values[at], unit))])),
};

export const KINDS = { trend, strip, bars, table, group, log };
