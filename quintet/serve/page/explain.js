/** Sentences about a step: what the model does, and why it is silent. */

const HEARD = 0.02; // RMS of a step in which somebody speaks
const HESITATES = 0.05; // probability of output from which on it is worth a word
const ANSWER_STEPS = 4; // after the last sound: the model learned to answer after two
const BEFORE = 8; // steps that are looked back at

/**
 * @param {object[]} steps the step events so far, as the timeline keeps them
 * @param {number} index of the one that is explained
 * @param {boolean} microphone whether it is on
 * @returns {string} what the model does, or why it does nothing
 */
export function explain(steps, index, microphone) {
  const step = steps[index];
  if (!step) return "Nothing has happened yet.";
  if (step.gap) return "The connection broke here; the model remembers nothing from before.";
  return because(steps, index, microphone);
}

/** @returns {string} how likely each head found silence, or "" */
export function silence(step) {
  if (!step || step.gap) return "";
  const [words, speech] = step.no_output.map(percent);
  return `words ${words}, speech ${speech}`;
}

function because(steps, index, microphone) {
  const step = steps[index];
  if (step.interrupted) return "You talked over it, and the page stopped its speech.";
  if (step.hushed) return "It still speaks, but you interrupted: this is not played.";
  const does = doing(step);
  if (does.length) return `It ${new Intl.ListFormat("en").format(does)}.`;
  const past = steps.slice(Math.max(0, index - BEFORE), index + 1);
  const wants = 1 - Math.min(...step.no_output);
  if (step.input_level > HEARD) return "Silent: somebody speaks, and it learned to let them end.";
  if (wants > HESITATES) return "Silent, but it hesitated.";
  const ago = past.length - 1 - past.findLastIndex((it) => it.input_level > HEARD);
  if (ago < ANSWER_STEPS) return "Silent: somebody has just spoken, and it may still answer.";
  const answered = past.some((it) => !it.gap && doing(it).length);
  if (answered) return "Silent: it has answered, and nothing new is asked.";
  if (ago < past.length) return "Silent: it took what it heard for no request to it.";
  if (!microphone) return "Silent: nothing is asked, and the microphone is off.";
  return "Silent: nothing is asked.";
}

function doing({ counts, speaking }) {
  return [counts.text_out && "writes", counts.image_out && "draws", speaking && "speaks"]
    .filter(Boolean);
}

function percent(probability) {
  if (probability > 0 && probability < 0.01) return "< 1 %";
  if (probability < 1 && probability > 0.99) return "> 99 %";
  return `${Math.round(100 * probability)} %`;
}
