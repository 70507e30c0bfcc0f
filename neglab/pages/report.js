// Numbers by their value, cells without one last; everything else by name.
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
  const heading = button.parentElement, table = heading.closest("table"), body = table.tBodies[0];
  const down = heading.getAttribute("aria-sort") !== "descending";
  table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const text = row => row.cells[heading.cellIndex].textContent, number = row => parseFloat(text(row));
  [...body.rows].sort((a, b) => {
    const [x, y] = [number(a), number(b)];
    if (isNaN(x) || isNaN(y))
      return isNaN(x) && isNaN(y) ? (down ? 1 : -1) * text(a).localeCompare(text(b)) : isNaN(x) - isNaN(y);
    return down ? y - x : x - y;
  }).forEach(row => body.append(row));
}));
