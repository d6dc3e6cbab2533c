
// Draws what the server tells, once a period. Every text is set as text; nothing but
// the server's own events is fetched.
"use strict";
(() => {
  const COLOURS = [
    "#3a7bd5", "#d9731a", "#2b9a66", "#9a63d6",
    "#d84a5b", "#1f93a6", "#8a8a1c", "#c9579f",
  ];
  const STALE_MS = 5000;
  const LEAST_S = 60; // that the time axis shows
  const HEIGHT = 170;
  const EDGE = { left: 58, right: 10, top: 8, bottom: 22 };
  const NS = "http://www.w3.org/2000/svg";

  // Numbers as trimtab.units writes them.

  const threeDigits = (value) =>
    value === 0
      ? "0"
      : value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
  const scaled = (value, steps, unit) => {
    for (const [factor, prefix] of steps) {
      if (Math.abs(value) >= factor) {
        return `${threeDigits(value / factor)} ${prefix}${unit}`;
      }
    }
    return null;
  };
  const SI = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const BINARY = [[2 ** 40, "Ti"], [2 ** 30, "Gi"], [2 ** 20, "Mi"], [2 ** 10, "Ki"]];
  const count = (value) =>
    scaled(value, SI, "") ||
    (Number.isInteger(value) ? value.toFixed(0) : threeDigits(value));
  const duration = (value) =>
    Math.abs(value) >= 600
      ? `${(value / 60).toFixed(0)} min`
      : scaled(value, [[1, ""], [1e-3, "m"], [1e-6, "µ"]], "s") ||
        (value ? `${threeDigits(value / 1e-9)} ns` : "0 s");
  const rate = (value, unit) => {
    const text = count(value);
    return text.includes(" ") ? text + unit : `${text} ${unit}`;
  };
  const FORMATS = {
    s: duration,
    bytes: (value) => scaled(value, BINARY, "B") || `${value.toFixed(0)} B`,
    count,
    frac: (value) => `${(100 * value).toFixed(1)} %`,
    "bytes/s": (value) => rate(value, "B/s"),
    "flops/s": (value) => rate(value, "FLOP/s"),
    Hz: (value) => rate(value, "Hz"),
  };
  const format = (value, unit) =>
    unit in FORMATS ? FORMATS[unit](value) : `${count(value)} ${unit}`.trimEnd();
  const shown = (value, unit) =>
    value === null || value === undefined ? "–" : format(value, unit);
  window.formatValue = format; // a test compares it with trimtab.units

  // Elements

  const make = (tag, name, ...children) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    made.append(...children);
    return made;
  };
  const draw = (tag, attributes, ...children) => {
    const made = document.createElementNS(NS, tag);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    made.append(...children);
    return made;
  };
  const swatch = (colour) => {
    const made = make("span", "swatch");
    made.style.background = colour;
    return made;
  };
  const colourOf = (index) => COLOURS[index % COLOURS.length];

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

  const plot = (card) => {
    const svg = draw("svg", { role: "img", height: card.height });
    svg.addEventListener("pointermove", (event) => {
      card.pointer = event.clientX - svg.getBoundingClientRect().left;
      card.redraw();
    });
    svg.addEventListener("pointerleave", () => {
      card.pointer = null;
      card.redraw();
    });
    return svg;
  };

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
    legend.replaceChildren(
      ...figure.lines.map(([name, values], index) => {
        const value = make("b", "", shown(values[at], unit));
        return make("li", "", swatch(colourOf(index)), name, value);
      }),
      ...(target
        ? [make("li", "", make("span", "dashes"), target.name,
            make("b", "", shown(target.value, unit)))]
        : [])
    );
    const values = figure.stacked
      ? totals(figure)
      : figure.lines.flatMap(([, each]) => each.filter((value) => value !== null));
    const seen = values.concat(target ? [target.value] : []).filter((each) => each > 0);
    const most = Math.max(...seen, 1e-9) * (figure.log ? 1.6 : 1.08);
    const low = figure.log ? Math.min(...seen, most / 10) / 1.6 : 0;
    const room = HEIGHT - EDGE.top - EDGE.bottom;
    const share = figure.log
      ? (value) => Math.log(value / low) / Math.log(most / low)
      : (value) => value / most;
    const y = (value) => EDGE.top + room * (1 - share(value));
    let levels = ticks(most, unit);
    if (figure.log) {
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
        drawn.push(draw("path", { d: path, fill: colourOf(index), "fill-opacity": 0.85 }));
      });
    } else {
      figure.lines.forEach(([, each], index) => {
        drawn.push(draw("path", {
          d: pathOf(figure, each, axis.x, y), fill: "none", stroke: colourOf(index),
          "stroke-width": 1.8, "stroke-linejoin": "round",
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
    svg.setAttribute("aria-label", `${figure.title}: ${legend.textContent}`);
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
      const box = draw("rect", { x: left, y: 4, width: wide, height: 26, fill: colourOf(colour) },
        draw("title", {}, `${name}, ${shown(end - begin, "s")}`));
      if (wide < 7 * name.length + 12) return [box];
      return [box, draw("text", { class: "span-name", x: left + 7, y: 21 }, name)];
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
        make("li", "", swatch(colourOf(colour)), name,
          make("b", "", format(all ? time / all : 0, "frac")))
      )
    );
    svg.setAttribute("aria-label", `${figure.title}: ${legend.textContent}`);
    svg.replaceChildren(...drawn, ...axis.marks);
  };

  const bars = (card, figure) => {
    const { body, legend } = card.parts;
    const sums = figure.labels.map((_, at) =>
      figure.parts.reduce((sum, [, values]) => sum + (values[at] ?? 0), 0)
    );
    const most = Math.max(...sums, 1e-12);
    legend.replaceChildren(
      ...figure.parts.map(([name], index) => make("li", "", swatch(colourOf(index)), name))
    );
    body.replaceChildren(
      ...figure.labels.map((label, at) => {
        const track = make("div", "track");
        figure.parts.forEach(([, values], index) => {
          const part = make("span");
          part.style.width = `${(100 * (values[at] ?? 0)) / most}%`;
          part.style.background = colourOf(index);
          track.append(part);
        });
        const total = make("span", "total", shown(sums[at], figure.value_unit));
        return make("div", "bar", make("span", "label", label), track, total);
      })
    );
  };

  const table = (card, figure) => {
    const cell = (tag, column, content) =>
      make(tag, figure.units[column] ? "number" : "", content);
    const head = make("tr", "", ...figure.columns.map((name, column) => cell("th", column, name)));
    const rows = figure.rows.map((row) =>
      make("tr", "", ...row.map((value, column) => {
        const unit = figure.units[column];
        const text = unit && typeof value === "number" ? format(value, unit) : value ?? "";
        return cell("td", column, String(text));
      }))
    );
    const box = card.parts.body;
    const left = box.scrollLeft;
    box.replaceChildren(
      rows.length
        ? make("table", "", make("thead", "", head), make("tbody", "", ...rows))
        : make("p", "empty", "Nothing yet.")
    );
    box.scrollLeft = left;
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

  const KINDS = { trend, strip, bars, table, group };
  const BODIES = { bars: "rows", table: "scroll", group: "tiles" };

  const cards = new Map();
  const cardOf = (figure) => {
    const key = `${figure.kind} ${figure.title}`;
    let card = cards.get(key);
    if (!card) {
      const element = make("section", `card ${figure.kind}`, make("h2", "", figure.title));
      card = { element, pointer: null, parts: {}, height: figure.kind === "strip" ? 54 : HEIGHT };
      card.redraw = () => KINDS[card.figure.kind](card, card.figure);
      if (!["table", "group"].includes(figure.kind)) {
        element.append((card.parts.legend = make("ul", "legend")));
      }
      if (figure.kind in BODIES) {
        card.parts.body = make("div", BODIES[figure.kind]);
        element.append(card.parts.body);
      } else {
        element.append((card.parts.svg = plot(card)));
      }
      if (figure.kind === "table") {
        card.parts.body.tabIndex = 0; // scrolls by keyboard, too
        card.parts.body.setAttribute("role", "region");
        card.parts.body.setAttribute("aria-label", figure.title);
      }
      cards.set(key, card);
    }
    card.figure = figure;
    return card;
  };

  const force = make("section", "card force");
  const main = document.querySelector("main");
  const status = document.getElementById("status");
  const age = document.getElementById("age");

  const show = (state) => {
    status.textContent = state.status;
    status.className = state.tone;
    force.replaceChildren(
      make("h2", "", state.heading),
      make("p", "headline", state.headline),
      make("ul", "", ...state.reasons.map((reason) => make("li", "", reason)))
    );
    const shownCards = state.blocks.map(cardOf);
    const wanted = [
      ...(state.headline ? [force] : []),
      ...shownCards.map((card) => card.element),
    ];
    const same =
      wanted.length === main.children.length &&
      wanted.every((element, at) => element === main.children[at]);
    if (!same) main.replaceChildren(...wanted); // else a scrolled table would jump
    shownCards.forEach((card) => card.redraw());
  };

  let told = null;
  const look = () => {
    const passed = told === null ? Infinity : performance.now() - told;
    const stale = passed > STALE_MS;
    document.documentElement.classList.toggle("stale", stale && told !== null);
    age.textContent =
      told === null ? "connecting …" : stale ? `no news for ${Math.round(passed / 1000)} s` : "live";
  };
  const source = new EventSource("events");
  source.addEventListener("message", (event) => {
    told = performance.now();
    show(JSON.parse(event.data));
    look();
  });
  setInterval(look, 1000);
  window.addEventListener("resize", () => cards.forEach((card) => card.redraw()));
  look();
})();
