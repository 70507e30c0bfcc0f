const byId = name => document.getElementById(name), cards = byId("cards");
const all = [...cards.querySelectorAll("figure")], mark = cards.querySelector(".threshold");
const at = parseFloat(cards.dataset.threshold), score = card => parseFloat(card.dataset.score);
const logit = value => value > 0 && value < 1 ? Math.log(value / (1 - value)) : value;
const distance = card => Math.abs(logit(score(card)) - logit(at));
const name = card => card.querySelector("figcaption > a, figcaption > span:not(.score)").textContent;
const orders = {
  up: (a, b) => score(a) - score(b), down: (a, b) => score(b) - score(a), near: (a, b) => distance(a) - distance(b),
  name: (a, b) => name(a).localeCompare(name(b), undefined, { numeric: true }),
};
const show = () => {
  const order = byId("order").value, which = byId("which").value, wanted = byId("find").value.toLowerCase();
  let count = 0;
  for (const card of [...all].sort(orders[order])) {
    card.hidden = (which && !card.classList.contains(which)) || !card.textContent.toLowerCase().includes(wanted);
    count += !card.hidden;
    cards.append(card);
  }
  if (mark) {
    mark.hidden = order !== "up" || which || wanted;
    cards.insertBefore(mark, [...cards.children].find(card => score(card) >= at) ?? null);
  }
  byId("count").textContent = `${count} images`;
};
for (const tool of ["which", "order", "find"]) byId(tool).addEventListener("input", show);
