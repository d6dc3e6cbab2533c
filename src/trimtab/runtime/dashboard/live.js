// Shows what the server tells, once a period. Nothing but the server's own events is
// fetched, and nothing is kept but the last state.

import { HEIGHT, KINDS, draw, make, numbers } from "./figures.js";
import { since } from "./numbers.js";

const STALE_MS = 5000;
const AGAIN_MS = 3000; // until a server that refused is asked again
const SAID_MS = 5000; // between two changes that are read out

const plot = (card) => {
  const svg = draw("svg", { role: "img", height: card.height, tabindex: 0 });
  const point = (at) => {
    card.pointer = at;
    card.redraw();
  };
  svg.addEventListener("pointermove", (event) =>
    point(event.clientX - svg.getBoundingClientRect().left));
  svg.addEventListener("pointerleave", () => point(null));
  svg.addEventListener("blur", () => point(null));
  svg.addEventListener("keydown", (event) => {
    const { times_s: times } = card.figure;
    if (!times || !times.length) return;
    const last = times.length - 1;
    const to = {
      ArrowLeft: Math.max(0, card.at - 1), ArrowRight: Math.min(last, card.at + 1),
      Home: 0, End: last,
    }[event.key];
    if (to === undefined && event.key !== "Escape") return;
    event.preventDefault();
    point(to === undefined ? null : card.axis.x(times[to]));
    say(to === undefined ? "now" : `${since(-times[to])} ago: ${card.parts.legend.innerText}`);
  });
  return svg;
};

const BODIES = { bars: "rows", table: "scroll", group: "tiles" };

const cards = new Map();
const cardOf = (figure) => {
  const key = `${figure.kind} ${figure.title}`;
  let card = cards.get(key);
  if (!card) {
    const { kind, title } = figure;
    const element = make("section", `card ${kind}`, make("h2", "", title));
    element.setAttribute("aria-label", title);
    card = { element, pointer: null, parts: {}, height: kind === "strip" ? 54 : HEIGHT };
    const { parts } = card;
    card.redraw = () => {
      KINDS[kind](card, card.figure);
      if (parts.details?.open) parts.numbers.replaceChildren(numbers[kind](card.figure));
    };
    if (kind in numbers) element.append((parts.legend = make("ul", "legend")));
    if (kind === "log") element.append((parts.body = make("ol")));
    else if (kind in BODIES) element.append((parts.body = make("div", BODIES[kind])));
    else element.append((parts.svg = plot(card)));
    if (kind in numbers) {
      parts.numbers = make("div", "scroll");
      parts.details = make("details", "", make("summary", "", "Numbers"), parts.numbers);
      parts.details.addEventListener("toggle", () => card.redraw());
      element.append(parts.details);
    }
    if (kind === "table" || kind === "log") {
      parts.body.tabIndex = 0; // scrolls by keyboard, too
      if (kind === "table") parts.body.setAttribute("role", "region");
      parts.body.setAttribute("aria-label", title);
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
const said = document.getElementById("said");

// What a screen reader reads out: changes, not each number of each second.
const say = (text) => { said.textContent = text; };
let before = "";
let heard = -SAID_MS;
const announce = (state) => {
  if (performance.now() - heard < SAID_MS) return;
  const newest = state.blocks.find((block) => block.kind === "log")?.entries[0];
  const now = [state.tone, state.headline, newest?.what].join("\n");
  if (now === before) return;
  say([state.status, state.headline, newest?.what].filter(Boolean).join(". "));
  [before, heard] = [now, performance.now()];
};

const show = (state) => {
  status.textContent = state.status;
  status.className = state.tone;
  const text = JSON.stringify([state.heading, state.headline, state.reasons]);
  if (text !== force.drawn) {
    force.drawn = text;
    force.replaceChildren(
      make("h2", "", state.heading),
      make("p", "headline", state.headline),
      make("ul", "", ...state.reasons.map((reason) => make("li", "", reason)))
    );
  }
  const shownCards = state.blocks.map(cardOf);
  const wanted = [
    ...(state.headline ? [force] : []),
    ...shownCards.map((card) => card.element),
  ];
  const same =
    wanted.length === main.children.length &&
    wanted.every((element, at) => element === main.children[at]);
  if (!same) main.replaceChildren(...wanted); // else a scrolled table would jump
  cards.forEach((card, key) => { if (!shownCards.includes(card)) cards.delete(key); });
  shownCards.forEach((card) => card.redraw());
  announce(state);
};

let last = null;
let told = null;
let gone = false;
const look = () => {
  const passed = told === null ? Infinity : performance.now() - told;
  const stale = told !== null && (gone || passed > STALE_MS);
  const old = since(passed / 1000);
  document.documentElement.classList.toggle("stale", stale);
  const text =
    told === null
      ? gone ? "the server is not reached" : "connecting …"
      : !stale ? "live" : gone ? `server gone, last news ${old} ago` : `no news for ${old}`;
  if (stale && age.textContent === "live") say("No news: what is shown is old.");
  age.textContent = text;
};
const listen = () => {
  const source = new EventSource("events");
  source.addEventListener("message", (event) => {
    told = performance.now();
    gone = false;
    last = JSON.parse(event.data);
    if (!document.hidden) show(last);
    look();
  });
  source.addEventListener("error", () => {
    gone = true;
    look();
    // A browser comes again by itself, but not to a server that has said no.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN_MS);
  });
};
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && last !== null) show(last);
});
setInterval(look, 1000);
window.addEventListener("resize", () => cards.forEach((card) => card.redraw()));
listen();
look();
