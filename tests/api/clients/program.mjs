// The same program as program.py, with OpenAI's client for Node.
// usage: node program.mjs BASE_URL FOLDER

import fs from 'node:fs';
import path from 'node:path';
import OpenAI, { toFile } from 'openai';
import { VERSION } from 'openai/version';

const [url, folder] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: 'any' });
const QUICK = { num_inference_steps: 2, seed: 7 };
const file = (name) => path.join(folder, name);
const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function finished(video) {
  while (video.status === 'queued' || video.status === 'in_progress') {
    await wait(0.2);
    video = await client.videos.retrieve(video.id);
  }
  return video;
}

async function ids(pages) {
  const found = [];
  for await (const video of pages) found.push(video.id);
  return found;
}

async function madeAndDownloaded() {
  const queued = await client.videos.create({
    prompt: 'a red circle moving left', model: 'sora-2-pro', seconds: '4', size: '720x1280', ...QUICK,
  });
  const done = await finished(queued);
  const variants = { video: 'video.mp4', thumbnail: 'thumbnail.webp', spritesheet: 'sheet.jpg' };
  for (const [variant, name] of Object.entries(variants)) {
    const content = await client.videos.downloadContent(done.id, { variant });
    fs.writeFileSync(file(name), Buffer.from(await content.arrayBuffer()));
  }
  const picture = fs.readFileSync(file('picture.png'));
  const shown = await client.videos.create({
    prompt: 'x', input_reference: await toFile(picture, 'picture.png', { type: 'image/png' }), ...QUICK,
  });
  const image_url = `data:image/png;base64,${picture.toString('base64')}`;
  const encoded = await client.videos.create({ prompt: 'x', input_reference: { image_url }, ...QUICK });
  return { queued, done, 'by file': await finished(shown), 'by data URL': await finished(encoded) };
}

async function changed() {
  const source = await finished(await client.videos.create({ prompt: 'a red circle', ...QUICK }));
  const clip = () => fs.createReadStream(file('clip.mp4'));
  const remixed = await client.videos.remix(source.id, { prompt: 'a blue circle', ...QUICK });
  const edited = await client.videos.edit({ prompt: 'a blue circle', video: clip(), ...QUICK });
  const named = await client.videos.edit({ prompt: 'a blue circle', video: { id: source.id }, ...QUICK });
  const extended = await client.videos.extend({ prompt: 'it goes on', video: clip(), seconds: '4', ...QUICK });
  return {
    source,
    remixed: await finished(remixed),
    edited: await finished(edited),
    'edited by id': await finished(named),
    extended: await finished(extended),
  };
}

async function characters() {
  const made = await client.videos.createCharacter({ name: 'Ruby', video: fs.createReadStream(file('clip.mp4')) });
  const { name } = await client.videos.getCharacter(made.id);
  const video = await client.videos.create({ prompt: 'Ruby', characters: [{ id: made.id }], ...QUICK });
  return { character: name, 'with character': await finished(video) };
}

async function listedAndDeleted() {
  const listed = await ids(client.videos.list({ limit: 3 }));
  const oldest = await ids(client.videos.list({ limit: 3, order: 'asc' }));
  const page = await client.videos.list({ limit: 2 });
  const gone = await client.videos.delete(listed[0]);
  const code = await client.videos.retrieve(listed[0]).catch((error) => error.code);
  const refused = await client.videos.create({ prompt: 'x', size: 'big' }).catch((error) => [error.code, error.param]);
  return {
    listed, oldest, refused, page: [page.data.length, page.has_more], deleted: [gone.deleted, gone.id, code],
  };
}

const models = [];
for await (const model of client.models.list()) models.push(model.id);
const seen = {
  version: VERSION, models,
  ...(await madeAndDownloaded()), ...(await changed()), ...(await characters()), ...(await listedAndDeleted()),
};
console.log(JSON.stringify(seen));
