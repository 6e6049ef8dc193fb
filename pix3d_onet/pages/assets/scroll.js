"use strict";
// A wide table scrolls in its box; where it goes on to the right, the box fades out (base.css).
for (const box of document.querySelectorAll(".scroll")) {
  const update = () => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  box.addEventListener("scroll", update);
  const sizes = new ResizeObserver(update);
  for (const part of [box, ...box.children]) sizes.observe(part);
}
