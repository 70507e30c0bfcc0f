// What stands under the pointer, in the legend: the height of each curve, or the share of each area to the right.
document.querySelectorAll(".chart svg").forEach(svg => {
  const [left, right, top, bottom] = [42, 332, 8, 188], line = svg.querySelector(".pointer"), said = svg.nextElementSibling;
  const first = said.textContent, percent = share => `${(100 * share).toFixed(1)}%`;
  const legend = look => svg.closest(".chart").querySelector(`.legend .${look} output`);
  const curves = [...svg.querySelectorAll("polyline")].map(curve =>
    ({ points: [...curve.points], output: legend(curve.classList[1]) }));
  const height = (points, x) => {
    const next = points.findIndex(point => point.x > x), b = points.at(next), a = next > 0 ? points[next - 1] : b;
    return (bottom - a.y - (b.x > a.x ? (x - a.x) / (b.x - a.x) : 0) * (b.y - a.y)) / (bottom - top);
  };
  const area = (points, x) => {
    let right = 0, whole = 0;
    for (let i = 1; i < points.length; i++) {
      const [a, b] = [points[i - 1], points[i]], size = (b.x - a.x) * (bottom - (a.y + b.y) / 2);
      whole += size;
      right += b.x > a.x ? size * Math.min(1, Math.max(0, (b.x - x) / (b.x - a.x))) : 0;
    }
    return right / whole;
  };
  const [low, high] = svg.dataset.ends.split(" ").map(Number), isArea = svg.dataset.reading === "area";
  svg.addEventListener("pointermove", event => {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const x = Math.min(right, Math.max(left, place.x)), share = (x - left) / (right - left);
    const drawn = low + share * (high - low), value = "logit" in svg.dataset ? 1 / (1 + Math.exp(-drawn)) : drawn;
    line.setAttribute("d", `M${x} ${top}V${bottom}`);
    said.textContent = isArea ? `score above ${value.toPrecision(6)}` : `${svg.dataset.across}: ${percent(share)}`;
    curves.forEach(({ points, output }) => { output.textContent = percent((isArea ? area : height)(points, x)); });
  });
  svg.addEventListener("pointerleave", () => {
    line.setAttribute("d", "");
    said.textContent = first;
    curves.forEach(({ output }) => { output.textContent = ""; });
  });
});
