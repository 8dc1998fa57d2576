for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort") || (head.dataset.first === "down" ? "ascending" : "descending");
      const sign = before === "ascending" ? -1 : 1;
      const rows = [...table.tBodies].map((body) => {
        const cell = body.rows[0].cells[column];
        const text = cell.dataset.value ?? cell.textContent.trim();
        return { body, text: text === "-" ? "" : text };
      });
      const known = rows.filter((row) => row.text !== "");
      const numbers = known.every((row) => Number.isFinite(Number(row.text)));
      known.sort((a, b) => sign * (numbers ? a.text - b.text : a.text.localeCompare(b.text)));
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      table.append(...known.map((row) => row.body), ...rows.filter((row) => row.text === "").map((row) => row.body));
    });
  });
}
const open = (hash) => {
  const there = hash.length > 1 && document.getElementById(hash.slice(1));
  if (!there) return false;
  there.open = true;
  there.scrollIntoView();
  there.querySelector("summary")?.focus({ preventScroll: true });
  return true;
};
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (link && open(link.hash)) event.preventDefault();
});
open(location.hash);
