// The microphone as blocks of samples, stretches of them, and samples as a WAV file.

export const hasMicrophone = () => window.isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);

export async function openMicrophone(onBlock) {
  // as it sounds: what browsers do for calls takes away what tells voices apart
  const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio });
  const context = new AudioContext();
  await context.audioWorklet.addModule("/page/worklet.js");
  await context.resume();
  const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
  tap.port.onmessage = (event) => onBlock(event.data);
  context.createMediaStreamSource(stream).connect(tap);
  return {
    rate: context.sampleRate,
    close() {
      tap.port.onmessage = null;
      stream.getTracks().forEach((track) => track.stop());
      context.close();
    },
  };
}

export function toPcm(block) {
  if (block instanceof Int16Array) return block;
  const pcm = new Int16Array(block.length);
  for (let i = 0; i < block.length; i++) pcm[i] = Math.round(Math.max(-1, Math.min(1, block[i])) * 32767);
  return pcm;
}

export function cut(blocks, rate, start, end) {
  const from = Math.round(start * rate), to = Math.round(end * rate), parts = [];
  let at = 0;
  for (const block of blocks) {
    if (at + block.length > from && at < to) parts.push(block.subarray(Math.max(0, from - at), to - at));
    at += block.length;
  }
  return parts;
}

export function toWav(blocks, rate) {
  const samples = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * samples));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples, true);
  let at = 44;
  for (const block of blocks)
    for (const value of toPcm(block)) {
      view.setInt16(at, value, true);
      at += 2;
    }
  return new File([view.buffer], `recorded ${new Date().toISOString().slice(0, 19).replace("T", " ").replaceAll(":", ".")}.wav`, { type: "audio/wav" });
}
