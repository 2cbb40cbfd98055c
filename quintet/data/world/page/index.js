"use strict";
// A set: its statistics as a picture, and its scenes. Texts are set as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

const { seconds, shares } = data.statistics;
byId("title").textContent = data.title;
byId("about").textContent = `${(seconds / 60).toFixed(1)} minutes; silence `
  + `${(100 * shares.silence).toFixed(0)} %, user and assistant at once `
  + `${(100 * shares.overlap).toFixed(1)} % of the time. All numbers: statistics.json.`;
byId("picture").src = data.picture;
for (const scene of data.scenes) {
  const item = document.createElement("li"), name = document.createElement("span");
  if (scene.page) {
    const link = make("a", scene.name);
    link.href = scene.page;
    name.append(link);
  } else {
    name.textContent = scene.name;
  }
  item.append(name, make("span", `${scene.seconds} s`), make("span", scene.texts.join("  ·  ")));
  byId("scenes").append(item);
}
byId("unlisted").textContent = data.unlisted ? `and ${data.unlisted} more.` : "";
