"""Several people in one call of a stock pipeline, which would mix their embeddings (huggingface/diffusers issue 9813).

```python
class ForSeveralPeople(SeveralPeople, StableDiffusionPipeline):
    pass

pipe = ForSeveralPeople.from_pipe(pipe)
likes = torch.cat([anna["like"][:1], ben["like"][:1], anna["like"][1:], ben["like"][1:]])
```

Rows are `[unconditional halves of all; conditional halves of all]`, one person a prompt; FLUX takes the two halves
apart, as `negative_ip_adapter_image_embeds` and `ip_adapter_image_embeds`. Needs nothing but diffusers.
"""

import torch


class SeveralPeople:
    """Put this before any pipeline class of Stable Diffusion, Stable Diffusion XL or FLUX."""

    def prepare_ip_adapter_image_embeds(
        self,
        ip_adapter_image,
        ip_adapter_image_embeds,
        device,
        num_images_per_prompt,
        do_classifier_free_guidance=False,
    ):
        """Each person's rows, repeated for their own pictures; `num_images_per_prompt` counts those of all prompts."""

        def repeated(rows):
            return rows.repeat_interleave(num_images_per_prompt // len(rows), dim=0)

        halves = 2 if do_classifier_free_guidance else 1
        return [
            torch.cat([repeated(half) for half in embeds.chunk(halves)]).to(device)
            for embeds in ip_adapter_image_embeds
        ]
