// Keys, dialogs and live progress. Every page works without this file; nothing here builds HTML from text.
"use strict";
(() => {
  const $ = (query, from = document) => from.querySelector(query);
  const all = (query, from = document) => [...from.querySelectorAll(query)];
  const rows = () => all("[data-row]");
  let at = -1, last = {};
  try { last = JSON.parse(sessionStorage.getItem("reasons")) || {}; } catch { /* a private window keeps nothing */ }

  const go = (step) => {
    const listed = rows();
    if (!listed.length) return;
    at = Math.min(listed.length - 1, Math.max(0, at + step));
    listed.forEach((row, i) => row.classList.toggle("now", i === at));
    listed[at].scrollIntoView({ block: "nearest" });
    const link = $("a[data-open]", listed[at]);
    if (link) link.focus({ preventScroll: true });
  };
  const box = () => (at >= 0 && rows()[at] ? $("input[name=pick]", rows()[at]) : null);
  const chosen = () => all("input[name=pick]:checked");
  const count = () => {
    const n = chosen().length;
    all("[data-chosen]").forEach((node) => { node.textContent = n ? `${n} selected` : "none selected"; });
  };

  // A decision asks for its reason in a dialog: the iframe of Airflow blocks confirm().
  const ask = (button) => {
    const dialog = $("#ask"), form = button.form;
    const picks = form.dataset.picks === "yes";
    if (picks && !chosen().length) {
      const own = box();
      if (!own) { go(1); return; }
      own.checked = true;
      count();
    }
    const n = chosen().length, reason = $("input[name=reason]", form), field = $("input", dialog);
    $("[data-title]", dialog).textContent = picks ? `${button.dataset.verb} ${n} record${n === 1 ? "" : "s"}` : button.dataset.verb;
    field.value = reason.value || last[button.value] || button.dataset.reason || "";
    const sure = $("[data-sure]", dialog);
    sure.className = button.className;
    sure.textContent = button.textContent.trim();
    const send = (event) => {
      event.preventDefault();
      if (!field.value.trim()) { field.focus(); return; }
      reason.value = last[button.value] = field.value;
      try { sessionStorage.setItem("reasons", JSON.stringify(last)); } catch { /* a private window keeps nothing */ }
      dialog.close();
      form.dataset.asked = "yes";
      form.requestSubmit(button);
    };
    sure.onclick = send;
    field.onkeydown = (event) => { if (event.key === "Enter") send(event); };
    dialog.showModal();
    field.select();
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-verb]");
    if (button && button.form && button.form.dataset.asked !== "yes") { event.preventDefault(); ask(button); return; }
    const close = event.target.closest("[data-close]");
    if (close && close.closest("dialog")) close.closest("dialog").close();
    else if (close) close.closest(".toast").remove();
    const whole = event.target.closest("[data-all]");
    if (whole) all("input[name=pick]").forEach((one) => { one.checked = whole.checked; });
    if (event.target.closest("[data-help]")) keys["?"]();
    count();
  });
  // A form is sent once: a double click makes no second decision.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    setTimeout(() => { delete form.dataset.sent; form.dataset.asked = ""; }, 4000);
  });
  // A page that the back button brings out of memory shows what is true now.
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  const press = (name) => {
    const row = at >= 0 ? rows()[at] : null;
    const button = (row && $(`[data-key=${name}]`, row)) || $(`[data-key=${name}]`);
    if (!button) return;
    if (button.dataset.verb) ask(button);
    else if (button.form) button.form.requestSubmit(button);
    else button.click();
  };
  const keys = {
    j: () => go(1), k: () => go(-1),
    x: () => { const one = box(); if (one) { one.checked = !one.checked; count(); } },
    r: () => press("r"), d: () => press("d"), u: () => press("u"),
    "?": () => { const help = $("#keys"); if (help.open) help.close(); else help.showModal(); },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select")) return;
    if ($("dialog[open]") && event.key !== "?") return;
    const act = keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  // Live progress of a job, asked for each second until it ends.
  const job = $("[data-job]");
  const poll = async () => {
    try {
      const answer = await fetch(job.dataset.job, { headers: { accept: "application/json" } });
      if (answer.ok) {
        const state = await answer.json();
        const bar = $("progress", job);
        bar.max = Math.max(1, state.total);
        bar.value = state.done;
        $("[data-done]", job).textContent = `${state.done.toLocaleString("en")} of ${state.total.toLocaleString("en")}`;
        if (state.ended) { location.reload(); return; }
      }
    } catch { /* the server is away for a moment: ask again */ }
    setTimeout(poll, 1000);
  };
  if (job && job.dataset.ended !== "yes") setTimeout(poll, 500);
  count();
})();
