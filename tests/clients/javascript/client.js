// One question through an SDK: node client.js WAY URL KEY QUESTION; what came is printed.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [way, url, apiKey, content] = process.argv.slice(2);
const messages = [{ role: "user", content }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const chat = { model: "gpt-4o", messages };
const anthropic = new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });
const message = { model: "claude-opus-5", max_tokens: 9, messages };

const ways = {
  "openai plain": async () => (await openai.chat.completions.create(chat)).choices[0].message.content,
  "openai streamed": async () => {
    let text = "";
    for await (const chunk of await openai.chat.completions.create({ ...chat, stream: true })) {
      text += chunk.choices[0]?.delta?.content ?? "";
    }
    return text;
  },
  "openai tool": async () => (await openai.chat.completions.create({ ...chat, tools })).choices[0].message.tool_calls,
  "openai responses": async () => (await openai.responses.create({ model: "gpt-4o", input: content })).output_text,
  "openai responses streamed": async () => {
    const stream = openai.responses.stream({ model: "gpt-4o", input: content });
    return (await stream.finalResponse()).output_text;
  },
  "openai embeddings": async () =>
    (await openai.embeddings.create({ model: "text-embedding-3-small", input: content })).data[0].embedding,
  "anthropic plain": async () => (await anthropic.messages.create(message)).content,
  "anthropic streamed": async () => await anthropic.messages.stream(message).finalText(),
  "anthropic tool": async () =>
    (await anthropic.messages.create({ ...message, tools: [{ name: "weather", input_schema: parameters }] })).content,
};

console.log(JSON.stringify(await ways[way]()));
