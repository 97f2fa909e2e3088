// Images for models that see: bounded in number and size, made smaller where they are larger than a model looks at, and as JPEG or PNG,
// which is what Ollama takes.

export const most_images = 8;
const longest_side = 1600;
const largest_file_bytes = 30 * 1024 * 1024;
/** What goes as it is, when it is small enough too. */
const taken = new Set(["image/jpeg", "image/png"]);
const small_bytes = 1024 * 1024;

export class ImageError extends Error {}

/** The size to which an image is made, sides in proportion. */
export function fitted(width: number, height: number, longest = longest_side): { width: number; height: number } {
  const scale = Math.min(1, longest / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** The image files among what was pasted, dropped or picked, at most as many as there is room for. */
export function imageFiles(files: Iterable<File>, room: number): { images: File[]; left: number } {
  const all = [...files].filter((file) => file.type.startsWith("image/"));
  return { images: all.slice(0, Math.max(0, room)), left: Math.max(0, all.length - room) };
}

/** The file as base64 for Ollama. Rejects with an `ImageError` that can be shown. */
export async function readImage(file: File): Promise<string> {
  if (file.size > largest_file_bytes) throw new ImageError(`${file.name || "The image"} is larger than 30 MB.`);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new ImageError(`${file.name || "The file"} is no image that this browser can read.`);
  }
  try {
    const size = fitted(bitmap.width, bitmap.height);
    if (taken.has(file.type) && file.size <= small_bytes && size.width === bitmap.width) return await base64(file);
    const canvas = new OffscreenCanvas(size.width, size.height);
    const context = canvas.getContext("2d")!;
    context.fillStyle = "#fff"; // JPEG has no transparency
    context.fillRect(0, 0, size.width, size.height);
    context.drawImage(bitmap, 0, 0, size.width, size.height);
    return await base64(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.88 }));
  } finally {
    bitmap.close();
  }
}

/** An address that shows a kept image. */
export function imageAddress(image: string): string {
  return `data:image/${image.startsWith("iVBOR") ? "png" : "jpeg"};base64,${image}`;
}

async function base64(blob: Blob): Promise<string> {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}
