// Draws every figure of the page from the JSON beside it. Nothing is fetched.
(() => {
  "use strict";
  const NARROW = 560; // CSS pixels of a figure
  const PRINTED = 660;
  const config = { responsive: true, displayModeBar: false, displaylogo: false };
  const boxes = Array.from(document.querySelectorAll(".plot"));
  const specs = boxes.map((box) =>
    JSON.parse(document.getElementById(box.dataset.figure).textContent)
  );

  const put = (target, path, value) => {
    const keys = path.split(".");
    const last = keys.pop();
    keys.reduce((inner, key) => inner[key], target)[last] = value;
  };

  const draw = (index, width) => {
    const box = boxes[index];
    const { data, layout, narrow } = structuredClone(specs[index]);
    const isNarrow = (width || box.clientWidth) < NARROW;
    if (isNarrow) {
      layout.dragmode = false; // a finger on the figure scrolls the page
      layout.font.size = 11;
      Object.entries(narrow).forEach(([path, value]) => put(layout, path, value));
    }
    if (width) {
      layout.autosize = false;
      layout.width = width;
    }
    box.dataset.narrow = String(isNarrow);
    return Plotly.react(box, data, layout, config).catch((error) => fail(box, error));
  };

  const fail = (box, error) => {
    box.textContent = "This figure could not be drawn: " + error.message;
  };

  const drawAll = (width) =>
    Promise.all(
      boxes.map((box, index) => {
        try {
          return draw(index, width);
        } catch (error) {
          return fail(box, error);
        }
      })
    );

  let printing = false;
  window.addEventListener("resize", () => {
    if (printing) return;
    boxes.forEach((box, index) => {
      if (String(box.clientWidth < NARROW) !== box.dataset.narrow) draw(index);
    });
  });
  window.addEventListener("beforeprint", () => {
    printing = true;
    drawAll(PRINTED);
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    drawAll();
  });
  drawAll().then(() => (document.documentElement.dataset.figures = "drawn"));
})();
