// Players for the recordings in #clips, figures and tables need no script.
"use strict";
(() => {
  const store = JSON.parse(document.getElementById("clips").textContent);
  const urls = new Map();
  let current = null; // the button whose recording plays

  function urlOf(number) {
    if (!urls.has(number)) {
      const bytes = Uint8Array.from(atob(store.clips[number]), (letter) => letter.charCodeAt(0));
      urls.set(number, URL.createObjectURL(new Blob([bytes], { type: store.type })));
    }
    return urls.get(number);
  }

  function audioOf(button) {
    let audio = button.parentElement.querySelector("audio");
    if (!audio) {
      audio = document.createElement("audio");
      audio.src = urlOf(Number(button.dataset.clip));
      audio.addEventListener("timeupdate", () => show(button, audio));
      audio.addEventListener("pause", () => button.setAttribute("aria-pressed", "false"));
      audio.addEventListener("play", () => button.setAttribute("aria-pressed", "true"));
      audio.addEventListener("ended", () => ended(button, audio));
      audio.addEventListener("error", () => { button.querySelector(".time").textContent = "cannot play"; });
      button.after(audio);
    }
    return audio;
  }

  function show(button, audio) {
    const whole = Number(button.dataset.seconds);
    const now = Math.min(audio.currentTime, whole);
    button.style.setProperty("--played", `${(100 * now) / whole}%`);
    button.querySelector(".time").textContent = `${now.toFixed(1)} of ${whole.toFixed(1)} s`;
  }

  function play(button) {
    if (current && current !== button) stop(current);
    current = button;
    return audioOf(button).play().catch(() => {});
  }

  function stop(button) {
    delete button.dataset.next;
    audioOf(button).pause();
  }

  function ended(button, audio) {
    audio.currentTime = 0;
    button.style.setProperty("--played", "0%");
    button.querySelector(".time").textContent = `${Number(button.dataset.seconds).toFixed(1)} s`;
    const next = button.dataset.next;
    delete button.dataset.next;
    if (next) play(button.closest("tr").querySelector(`[data-side="${next}"]`));
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.classList.contains("play")) {
      if (button === current && !audioOf(button).paused) stop(button);
      else play(button);
    } else if (button.classList.contains("both")) {
      const left = button.closest("tr").querySelector('[data-side="left"]');
      if (current) stop(current);
      audioOf(left).currentTime = 0;
      left.dataset.next = "right";
      play(left);
    }
  });

  // On paper nothing is folded away.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((part) => { part.open = true; });
  });
  window.addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));
})();
