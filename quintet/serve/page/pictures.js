/**
 * Pictures to show: files, the clipboard, the camera, and samples drawn from the emoji font.
 *
 * Everything becomes one small JPEG or PNG data URL: the model sees few pixels, so nothing is lost.
 */

const SIDE = 384; // pixels of the longer side that are sent
const SAMPLE_SIDE = 192;
const THUMBNAIL_SIDE = 8;
const LARGEST = 30 * 2 ** 20; // bytes of a file that the browser is asked to decode
const EMOJI_FONT = '"Noto Color Emoji", "Apple Color Emoji", "Segoe UI Emoji", sans-serif';

/** Things of the model's world with a background for each. */
export const SAMPLES = [
  ["🍎", "an apple", "#dfe9d8"],
  ["🐱", "a cat", "#d5e3ee"],
  ["🚗", "a car", "#efe3cc"],
  ["🌻", "a flower", "#d9e2f1"],
  ["🎸", "a guitar", "#e9dcec"],
  ["🐧", "a penguin", "#e4ecec"],
];

/**
 * @param {Blob} file
 * @returns {Promise<string>} a data URL; throws an Error whose message is a sentence
 */
export async function fromFile(file) {
  if (!file.type.startsWith("image/")) throw new Error("That is no picture; show an image file.");
  if (file.size > LARGEST) throw new Error("The picture has more than 30 MB; show a smaller one.");
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch (error) {
    throw new Error("The picture cannot be read; try another file.", { cause: error });
  }
  const url = shrink(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return url;
}

/** @param {CanvasImageSource} source @returns {string} a JPEG data URL on white */
export function shrink(source, width, height) {
  const scale = Math.min(1, SIDE / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}

/** @param {CanvasImageSource} source @returns {Uint8ClampedArray} RGBA of 8 x 8 pixels */
export function thumbnail(source) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = THUMBNAIL_SIDE;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high"; // else a few pixels would speak for all
  pen.drawImage(source, 0, 0, THUMBNAIL_SIDE, THUMBNAIL_SIDE);
  return pen.getImageData(0, 0, THUMBNAIL_SIDE, THUMBNAIL_SIDE).data;
}

/** @returns {number} mean absolute difference of two thumbnails' colours, 0 to 255 */
export function difference(one, other) {
  const sum = one.reduce((total, value, i) => total + Math.abs(value - other[i]), 0);
  return sum / (3 * THUMBNAIL_SIDE ** 2); // alpha never differs
}

/** @returns {string} a PNG data URL, or "" where the machine has no colour emoji */
export function sample(emoji, background) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SAMPLE_SIDE;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.font = `${SAMPLE_SIDE * 0.62}px ${EMOJI_FONT}`;
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  const box = pen.measureText(emoji);
  const middle = (box.actualBoundingBoxAscent - box.actualBoundingBoxDescent) / 2;
  pen.fillText(emoji, SAMPLE_SIDE / 2, SAMPLE_SIDE / 2 + middle);
  if (!hasColour(pen)) return "";
  pen.globalCompositeOperation = "destination-over";
  pen.fillStyle = background;
  pen.fillRect(0, 0, SAMPLE_SIDE, SAMPLE_SIDE);
  return canvas.toDataURL("image/png");
}

/** Whether anything but black was drawn: a missing glyph is a black box. */
function hasColour(pen) {
  const { data } = pen.getImageData(0, 0, SAMPLE_SIDE, SAMPLE_SIDE);
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] > 200 && Math.max(data[i], data[i + 1], data[i + 2]) > 60) return true;
  }
  return false;
}
