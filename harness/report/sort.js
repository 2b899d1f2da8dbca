// Says of a table that is wider than the page that it scrolls.
// Sorts a table by the column whose head is pressed, each group by itself; a third press brings the printed order back.
"use strict";
const wide = new ResizeObserver(entries => {
  for (const { target } of entries) target.classList.toggle("scrolls", target.scrollWidth > target.clientWidth + 1);
});
for (const box of document.querySelectorAll(".wide")) wide.observe(box);
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const printed = [...body.rows];
  const groups = [];
  for (const row of printed) {
    if (row.className === "group" || !groups.length) groups.push({ head: [], rows: [] });
    groups[groups.length - 1][row.className === "group" ? "head" : "rows"].push(row);
  }
  const next = { none: "descending", descending: "ascending", ascending: "none" };
  heads.forEach((head, column) => {
    if (!head.textContent) return;
    const text = row => row.cells[column].dataset.value ?? row.cells[column].textContent.replace("−", "-").trim();
    const compare = sign => (a, b) => {
      const [x, y] = [text(a), text(b)];
      const [m, n] = [parseFloat(x), parseFloat(y)];
      if (isNaN(m) !== isNaN(n)) return isNaN(m) ? 1 : -1;
      return sign * (isNaN(m) ? x.localeCompare(y) : m - n);
    };
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = next[head.getAttribute("aria-sort") ?? "none"];
      heads.forEach(other => other.removeAttribute("aria-sort"));
      if (order === "none") return body.append(...printed);
      head.setAttribute("aria-sort", order);
      for (const group of groups) {
        body.append(...group.head, ...[...group.rows].sort(compare(order === "ascending" ? 1 : -1)));
      }
    });
  });
}
