// A click on a column's head sorts the table by it, numbers as numbers, what is unknown last.
document.querySelectorAll("#pairs th").forEach((head, column) => {
  head.addEventListener("click", () => {
    const order = head.dataset.order === "1" ? -1 : 1;
    document.querySelectorAll("#pairs th").forEach(other => {
      delete other.dataset.order;
      other.removeAttribute("aria-sort");
    });
    head.dataset.order = order;
    head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const text = row => row.cells[column].textContent.trim();
    const empty = value => value === "" || value === "–";
    [...body.rows].sort((one, other) => {
      const a = text(one), b = text(other);
      if (empty(a) || empty(b)) return empty(a) - empty(b);
      const x = Number(a), y = Number(b);
      const numbers = !Number.isNaN(x) && !Number.isNaN(y);
      return order * (numbers ? x - y : a.localeCompare(b));
    }).forEach(row => body.append(row));
  });
});
